//! Where the ticks of an axis stand.

/// From values to a place between 0 and 1.
#[derive(Clone, Debug)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    is_logarithmic: bool,
    /// Values at which there is a line.
    pub(super) ticks: Vec<f64>,
}

impl Scale {
    /// Even steps from 0 to `highest` or a little more, which has about `count` of them.
    pub(super) fn from_zero(highest: f64, count: f64) -> Self {
        let highest = if highest.is_finite() && highest > 0.0 { highest } else { 1.0 };
        let rough = highest / count;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0]
            .into_iter()
            .map(|factor| factor * power)
            .find(|step| *step >= rough * 0.999_999)
            .unwrap_or(rough);
        let mut ticks = vec![0.0];
        let mut steps = 1.0;
        while ticks.last().is_some_and(|last| *last < highest * 0.999_999) {
            ticks.push(step * steps);
            steps += 1.0;
        }
        let high = ticks.last().copied().unwrap_or(highest);
        Self { low: 0.0, high, is_logarithmic: false, ticks }
    }

    /// The same with steps that are round in powers of 1024.
    pub(super) fn binary_from_zero(highest: f64, count: f64) -> Self {
        let mut unit = 1.0;
        while highest / unit >= 1024.0 {
            unit *= 1024.0;
        }
        let mut scale = Self::from_zero(highest / unit, count);
        scale.high *= unit;
        scale.ticks.iter_mut().for_each(|tick| *tick *= unit);
        scale
    }

    /// Even steps that do not go beyond `highest`: time.
    pub(super) fn until(highest: f64, count: f64) -> Self {
        let mut scale = Self::from_zero(highest, count);
        if highest.is_finite() && highest > 0.0 {
            scale.high = highest;
            scale.ticks.retain(|tick| *tick <= highest * 1.000_001);
        }
        scale
    }

    /// Logarithmic from `lowest` to `highest`, both more than 0, with ticks at 1, 2 and 5 of each power of ten.
    pub(super) fn logarithmic(lowest: f64, highest: f64) -> Self {
        let low = lowest.max(1e-6);
        // A range without width has no places.
        let high = highest.max(low * 1.5);
        let steps: &[f64] = if high / low > 3_000.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let mut ticks = Vec::new();
        let mut power = 10f64.powf(low.log10().floor());
        while power <= high {
            ticks.extend(steps.iter().map(|step| step * power).filter(|tick| *tick >= low && *tick <= high));
            power *= 10.0;
        }
        Self { low, high, is_logarithmic: true, ticks }
    }

    /// The place of `value`, kept between 0 and 1.
    pub(super) fn place(&self, value: f64) -> f64 {
        let place = if self.is_logarithmic {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        if place.is_finite() { place.clamp(0.0, 1.0) } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::Scale;

    #[test]
    fn ticks_are_round_and_reach_the_highest_value() {
        assert_eq!(Scale::from_zero(312_000.0, 4.0).ticks, [0.0, 1e5, 2e5, 3e5, 4e5]);
        assert_eq!(Scale::from_zero(1.0, 4.0).ticks, [0.0, 0.25, 0.5, 0.75, 1.0]);
        assert_eq!(Scale::from_zero(0.0, 4.0).ticks.last(), Some(&1.0));
        assert_eq!(Scale::from_zero(f64::NAN, 4.0).ticks.last(), Some(&1.0));
        assert_eq!(Scale::binary_from_zero(3_000.0, 4.0).ticks, [0.0, 1_024.0, 2_048.0, 3_072.0]);
        assert_eq!(Scale::until(5.2, 5.0).ticks, [0.0, 2.0, 4.0]);
        assert_eq!(Scale::until(5.2, 5.0).place(5.2), 1.0);
    }

    #[test]
    fn logarithmic_places_are_even_in_ratio() {
        let scale = Scale::logarithmic(10.0, 1_000.0);
        assert_eq!(scale.ticks, [10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0]);
        assert!((scale.place(100.0) - 0.5).abs() < 1e-9);
        assert_eq!((scale.place(0.0), scale.place(1e9)), (0.0, 1.0));
        assert!(Scale::logarithmic(7.0, 7.0).place(7.0).is_finite());
    }
}
