//! How often to look, and for how long.

use std::time::Duration;

use clap::Args;
use clap::builder::RangedU64ValueParser;

/// Show live what ports and workers do: rates, drops, how busy they are, cycles a frame by stage.
///
/// Asks the daemon twice for its counters and shows what has come between, again and again. On a
/// terminal it keeps the screen up to date: the busiest ports come first, and q or Ctrl-C ends it.
/// Elsewhere it prints one report after the other, and with -o json one line each.
///
/// Bits are those of frames from the Ethernet header on. A worker is busy while it has frames in its
/// hands. Stages are measured in some of its turns: their cycles are shared out among all frames of
/// these turns, so that together they are what a frame costs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sluicectl top
  sluicectl top --interval 5
  sluicectl top -n 1 -o json")]
pub(crate) struct Top {
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = read_interval)]
    pub(crate) interval: Duration,
    /// End after so many reports
    #[arg(short = 'n', long, value_name = "COUNT",
        value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    pub(crate) count: Option<u64>,
}

fn read_interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    let interval = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    interval.ok_or_else(|| "want 0.1 to 3600".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_seconds_and_may_have_a_fraction() {
        assert_eq!(read_interval("1"), Ok(Duration::from_secs(1)));
        assert_eq!(read_interval("0.25"), Ok(Duration::from_millis(250)));
        for text in ["", "0", "0.09", "-1", "3601", "NaN", "inf", "1s"] {
            assert!(read_interval(text).is_err(), "{text}");
        }
    }
}
