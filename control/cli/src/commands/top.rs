//! `top`: what ports and workers do, live.

mod rates;
mod screen;
mod view;

use std::time::SystemTime;

use serde::Serialize;
use sluice_api::client::Client;
use sluice_api::text::rfc3339;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use self::rates::{Rates, Reading};
use self::screen::Screen;
use self::view::{Kind, Line};
use crate::args::{Connection, Top as Arguments};
use crate::daemon::{Daemon, Stops};
use crate::failure::Failure;
use crate::output::Output;

/// What JSON shows of a report.
#[derive(Serialize)]
struct Report<'a> {
    /// When it was made.
    time: String,
    #[serde(flatten)]
    rates: &'a Rates,
}

/// Where reports go.
enum View<'a> {
    Screen(Screen),
    Output(&'a mut Output),
}

pub(crate) fn run(
    arguments: &Arguments,
    connection: &Connection,
    output: &mut Output,
) -> Result<(), Failure> {
    let daemon = Daemon::connect(connection)?;
    daemon.work(async |client, mut stops| {
        let view = match Screen::is_there() && !output.is_json() {
            true => View::Screen(Screen::enter()?),
            false => View::Output(output),
        };
        watch(arguments, client, &mut stops, view).await
    })
}

/// Shows report after report, until there were enough or somebody has had enough.
async fn watch(
    arguments: &Arguments,
    client: &Client,
    stops: &mut Stops,
    mut view: View<'_>,
) -> Result<(), Failure> {
    view.begin()?;
    let Some(mut earlier) = unless_ended(stops, &mut view, read(client)).await? else {
        return Ok(());
    };
    let mut ticks = interval_at(Instant::now() + arguments.interval, arguments.interval);
    // After a pause, as of a laptop that slept, one report is enough.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut left = arguments.count;
    while left != Some(0) {
        let next = async {
            ticks.tick().await;
            read(client).await
        };
        let Some(later) = unless_ended(stops, &mut view, next).await? else { return Ok(()) };
        // A daemon that has started anew has nothing to compare with yet.
        if let Some(rates) = Rates::between(&earlier, &later) {
            view.show(&rates)?;
            left = left.map(|left| left - 1);
        }
        earlier = later;
    }
    Ok(())
}

async fn read(client: &Client) -> Result<Reading, Failure> {
    let status = client.status().await.map_err(Failure::refused)?;
    let counters = client.counters().await.map_err(Failure::refused)?;
    Ok(Reading { status, counters })
}

/// What `work` comes to; `None` if somebody has had enough before.
async fn unless_ended<T>(
    stops: &mut Stops,
    view: &mut View<'_>,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<Option<T>, Failure> {
    tokio::select! {
        biased;
        () = stops.recv() => Ok(None),
        quit = view.until_quit() => quit.map(|()| None),
        done = work => done.map(Some),
    }
}

impl View<'_> {
    fn begin(&mut self) -> Result<(), Failure> {
        let Self::Screen(screen) = self else { return Ok(()) };
        let text = "q or Ctrl-C ends this; the first report is on its way".to_owned();
        Ok(screen.show(vec![Line { text, kind: Kind::Plain }])?)
    }

    fn show(&mut self, rates: &Rates) -> Result<(), Failure> {
        match self {
            Self::Screen(screen) => screen.show(view::lines(rates))?,
            Self::Output(output) if output.is_json() => {
                output.json(&Report { time: rfc3339(SystemTime::now()), rates })?;
                output.flush()?;
            }
            Self::Output(output) => {
                for line in view::lines(rates) {
                    output.line(line.text)?;
                }
                output.line("")?;
                // Somebody watches.
                output.flush()?;
            }
        }
        Ok(())
    }

    /// Returns when a key says that it is enough; never where there are no keys.
    async fn until_quit(&mut self) -> Result<(), Failure> {
        match self {
            Self::Screen(screen) => Ok(screen.until_quit().await?),
            Self::Output(_) => std::future::pending().await,
        }
    }
}
