//! Means and spreads over seeds, and differences of runs of the same seed.

use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::record::Epoch;

/// The mean; none of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The sample standard deviation; none below two values.
pub fn standard_deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|_| values.len() > 1)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

/// The median; none of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get(sorted.len().saturating_sub(1) / 2)?;
    Some((lower + upper) / 2.0)
}

/// The mean of differences between runs of the same seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// How many seeds both have.
    pub pairs: usize,
    /// The mean over them.
    pub mean: f64,
    /// The 95 % confidence interval of the mean by Student's t; none below two pairs.
    pub interval: Option<(f64, f64)>,
}

impl Difference {
    /// Of values by seed; none where no seed is common.
    pub fn paired(own: &[(u64, f64)], other: &[(u64, f64)]) -> Option<Self> {
        let of_seed = |seed| other.iter().find(|(other, _)| *other == seed).map(|(_, value)| value);
        let differences: Vec<f64> =
            own.iter().filter_map(|(seed, value)| Some(value - of_seed(*seed)?)).collect();
        let (pairs, mean) = (differences.len(), mean(&differences)?);
        let half = half_width(&differences);
        Some(Self { pairs, mean, interval: half.map(|half| (mean - half, mean + half)) })
    }

    /// Whether there is an interval and zero lies outside of it.
    pub fn excludes_zero(&self) -> bool {
        self.interval.is_some_and(|(low, high)| low > 0.0 || high < 0.0)
    }
}

/// Of the 95 % confidence interval of a mean.
fn half_width(values: &[f64]) -> Option<f64> {
    let deviation = standard_deviation(values)?;
    let degrees = (values.len() - 1) as f64;
    let quantile = StudentsT::new(0.0, 1.0, degrees).ok()?.inverse_cdf(0.975);
    Some(quantile * deviation / (values.len() as f64).sqrt())
}

/// The first epoch whose test metric is no less than a level.
pub fn first_reaching(epochs: &[Epoch], level: f64) -> Option<usize> {
    epochs.iter().find(|epoch| epoch.test_metric >= level).map(|epoch| epoch.epoch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn assert_near(found: Option<f64>, expected: f64) {
        assert!(found.is_some_and(|found| (found - expected).abs() < 1e-6), "{found:?} {expected}");
    }

    #[test]
    fn means_and_spreads() {
        let values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        assert_near(mean(&values), 5.0);
        // The squares' sum is 32.
        assert_near(standard_deviation(&values), (32.0f64 / 7.0).sqrt());
        assert_near(median(&values), 4.5);
        assert_near(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!((mean(&[]), median(&[])), (None, None));
        assert_eq!((standard_deviation(&[]), standard_deviation(&[1.0])), (None, None));
    }

    /// Student's data on two soporifics, 1908: the mean is 1.58, and R's `t.test` gives this interval.
    #[test]
    fn interval_of_the_sleep_data() -> Result<(), String> {
        let first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0];
        let second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4];
        let found = Difference::paired(&seeded(&second), &seeded(&first)).ok_or("no pairs")?;
        assert_eq!(found.pairs, 10);
        assert_near(Some(found.mean), 1.58);
        let (low, high) = found.interval.ok_or("no interval")?;
        assert_near(Some(low), 0.7001142);
        assert_near(Some(high), 2.4598858);
        assert!(found.excludes_zero());
        Ok(())
    }

    /// The 0.975 quantiles of the tables: 12.7062, 4.3027, 2.7764, 2.0423.
    #[test]
    fn quantiles() {
        for (n, expected) in [(2, 12.706205), (3, 4.302653), (5, 2.776445), (31, 2.042272)] {
            let values: Vec<f64> = (0..n).map(f64::from).collect();
            let scale = standard_deviation(&values).map(|sd| sd / f64::from(n).sqrt());
            assert_near(half_width(&values).zip(scale).map(|(half, scale)| half / scale), expected);
        }
    }

    #[test]
    fn only_common_seeds_are_paired() {
        let (own, other) = ([(1, 5.0), (2, 7.0), (4, 1.0)], [(2, 4.0), (1, 1.0), (3, 0.0)]);
        let found = Difference::paired(&own, &other);
        assert_eq!(found.map(|found| (found.pairs, found.mean)), Some((2, 3.5)));

        let one = Difference::paired(&own[..1], &other);
        assert_eq!(one, Some(Difference { pairs: 1, mean: 4.0, interval: None }));
        assert_eq!(one.map(|one| one.excludes_zero()), Some(false));
        assert_eq!(Difference::paired(&own[2..], &other), None);
    }

    #[test]
    fn equal_values_differ_by_exactly_zero() {
        let own = seeded(&[70.0, 71.0, 72.0]);
        let found = Difference::paired(&own, &own);
        assert_eq!(found, Some(Difference { pairs: 3, mean: 0.0, interval: Some((0.0, 0.0)) }));
        assert_eq!(found.map(|found| found.excludes_zero()), Some(false));
    }

    #[test]
    fn levels_are_reached_once() {
        let epochs = sample::epochs(&[10.0, f64::NAN, 30.0, 20.0, 30.0]);
        assert_eq!(first_reaching(&epochs, 10.0), Some(1));
        assert_eq!(first_reaching(&epochs, 15.0), Some(3));
        assert_eq!(first_reaching(&epochs, 31.0), None);
        assert_eq!(first_reaching(&[], 0.0), None);
    }

    fn seeded(values: &[f64]) -> Vec<(u64, f64)> {
        (0..).zip(values.iter().copied()).collect()
    }
}
