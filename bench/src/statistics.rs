//! Medians, quartiles, and how far a median of ratios can be trusted.

use crate::numbers::Numbers;

/// How often rounds are drawn again.
const RESAMPLES: usize = 2000;

/// The value below which a share of all values lies; 0 of none.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1) as f64;
    let (below, above) = ((last * share).floor(), (last * share).ceil());
    let at = |place: f64| sorted.get(place as usize).copied().unwrap_or_default();
    let between = last * share - below;
    at(below) * (1.0 - between) + at(above) * between
}

pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The interval that the median of the ratios lies in with 95 % confidence: the percentile
/// bootstrap over rounds, whose two sides stay together.
pub(crate) fn interval(ratios: &[f64]) -> (f64, f64) {
    let mut numbers = Numbers::new(0x51_75);
    let medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let drawn = ratios.iter().filter_map(|_| ratios.get(numbers.below(ratios.len())));
            median(&drawn.copied().collect::<Vec<_>>())
        })
        .collect();
    (quantile(&medians, 0.025), quantile(&medians, 0.975))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_values() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(quantile(&[0.0, 10.0], 0.25), 2.5);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn the_interval_holds_the_median_and_leaves_out_what_happens_once() {
        let ratios = [0.5, 0.51, 0.49, 0.5, 0.52, 0.48, 0.5, 0.5, 9.0];
        let (low, high) = interval(&ratios);
        assert!((0.48..=0.5).contains(&low) && (0.5..=0.52).contains(&high), "{low} {high}");
        assert_eq!(interval(&[2.0]), (2.0, 2.0));
    }
}
