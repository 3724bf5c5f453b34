//! Medians, spreads and percentiles. No figure leaves here without its range.

use crate::measure::Result;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The rounds of one figure: their median, least and greatest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
    pub rounds: usize,
}

impl Spread {
    /// `None` if there are no rounds.
    pub fn of(rounds: &[f64]) -> Option<Spread> {
        let mut sorted = rounds.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Some(Spread { median: f64::midpoint(low, high), min, max, rounds: sorted.len() })
    }
}

/// p50, p99 and p99.9 of a run's latencies in nanoseconds.
pub fn percentiles(latencies: &[u64]) -> Result<Vec<f64>> {
    let mut histogram = Histogram::<u64>::new_with_bounds(1, 100_000_000_000, 3)?;
    for latency in latencies {
        histogram.saturating_record((*latency).max(1));
    }
    let at = |quantile| histogram.value_at_quantile(quantile) as f64;
    Ok(vec![at(0.5), at(0.99), at(0.999)])
}

/// p50, p99 and the greatest of latencies that are few enough to be sorted.
pub fn extremes(latencies: &[f64]) -> Result<Vec<f64>> {
    let mut sorted = latencies.to_vec();
    sorted.sort_by(f64::total_cmp);
    let greatest = sorted.len().checked_sub(1).ok_or("nothing was measured")?;
    // The nearest rank: as many are at or below it as the quantile says, at least.
    let at = |percent: usize| sorted[(sorted.len() * percent).div_ceil(100) - 1];
    Ok(vec![at(50), at(99), sorted[greatest]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads() {
        assert_eq!(Spread::of(&[]), None);
        let odd = Spread::of(&[3.0, 1.0, 2.0]).unwrap();
        assert_eq!((odd.median, odd.min, odd.max), (2.0, 1.0, 3.0));
        assert_eq!(Spread::of(&[4.0, 1.0]).unwrap().median, 2.5);
    }

    #[test]
    fn extremes_of_a_ramp() {
        let ramp: Vec<f64> = (1..=1000).map(f64::from).collect();
        assert_eq!(extremes(&ramp).unwrap(), [500.0, 990.0, 1000.0]);
        assert_eq!(extremes(&[7.0]).unwrap(), [7.0, 7.0, 7.0]);
        assert!(extremes(&[]).is_err());
    }

    #[test]
    fn percentiles_of_a_ramp() {
        let ramp: Vec<u64> = (1..=1000).collect();
        let found = percentiles(&ramp).unwrap();
        assert!((found[0] - 500.0).abs() <= 1.0 && (found[1] - 990.0).abs() <= 1.0 && (found[2] - 999.0).abs() <= 1.0);
    }
}
