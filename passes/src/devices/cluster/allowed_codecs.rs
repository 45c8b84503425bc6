//! Which codecs a plan may use, and the form in which a value or a set of values arrives first over
//! a link.
//!
//! Input: a profile with measured codecs and a limit on the error. Output: forms in bytes and
//! seconds. For a set of values the best form depends on the link's rate;
//! [`AllowedCodecs::together`] enumerates the lower envelope of the values' costs, which are linear
//! in seconds per byte.

use std::collections::BTreeMap;

use super::codec::{Codec, CodecMeasurement, ValueCodecs};
use super::profile::Profile;
use crate::devices::problem::{Form, Link};

/// Codecs that a plan may use, by the name of the value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AllowedCodecs {
    values: BTreeMap<String, (u64, Vec<(Codec, Form)>)>,
}

impl AllowedCodecs {
    /// Codecs of a profile that shrink a value and are lossless or, if `most_error` is positive,
    /// change outputs by at most `most_error` (relative).
    pub fn of(profile: &Profile, most_error: f64) -> Self {
        let one = |v: &ValueCodecs| {
            // An observed error of 0 does not prove that a lossy codec is harmless.
            let allowed = |c: &CodecMeasurement| most_error > 0.0 && c.error <= most_error;
            let may =
                |c: &&CodecMeasurement| c.bytes < v.bytes && (c.codec.is_lossless() || allowed(c));
            let form =
                |c: &CodecMeasurement| (c.codec, Form { bytes: c.bytes, seconds: c.seconds });
            (v.name.clone(), (v.bytes, v.codecs.iter().filter(may).map(form).collect()))
        };
        Self { values: profile.values.iter().map(one).collect() }
    }

    /// Encoded forms of a value. Measurements of another size do not apply.
    fn forms(&self, name: &str, bytes: u64) -> &[(Codec, Form)] {
        match self.values.get(name) {
            Some((size, forms)) if *size == bytes => forms,
            _ => &[],
        }
    }

    /// The form in which a value of `bytes` arrives first over a link, and its codec; `None` means
    /// unencoded.
    pub(crate) fn choose(&self, link: &Link, name: &str, bytes: u64) -> (Option<Codec>, Form) {
        let mut best = (None, Form::plain(bytes));
        for &(codec, form) in self.forms(name, bytes) {
            if link.flow(form) < link.flow(best.1) {
                best = (Some(codec), form);
            }
        }
        best
    }

    /// Forms of several values sent together, given as (name, bytes): for each range of link rates,
    /// the sum of each value's best form. At any rate, one of the results is optimal.
    pub(crate) fn together(&self, values: &[(&str, u64)]) -> Vec<Form> {
        let all = |&(name, bytes): &(&str, u64)| -> Vec<Form> {
            let coded = self.forms(name, bytes).iter().map(|f| f.1);
            std::iter::once(Form::plain(bytes)).chain(coded).collect()
        };
        let all: Vec<Vec<Form>> = values.iter().map(all).collect();
        // Break points: seconds per byte at which two forms of a value take equally long.
        let mut turns: Vec<f64> = vec![0.0];
        for forms in &all {
            for (i, a) in forms.iter().enumerate() {
                let turn = |b: &Form| (b.seconds - a.seconds) / (a.bytes as f64 - b.bytes as f64);
                turns.extend(forms[i + 1..].iter().map(turn).filter(|t| t.is_finite() && *t > 0.0));
            }
        }
        turns.sort_by(f64::total_cmp);
        turns.dedup();
        let middle = |i: usize| match turns.get(i + 1) {
            Some(next) => f64::midpoint(turns[i], *next),
            None => turns[i] * 2.0 + 1.0,
        };
        let mut found: Vec<Form> = Vec::new();
        for rate in (0..turns.len()).map(middle) {
            let takes = |f: &&Form| f.seconds + f.bytes as f64 * rate;
            let best = |forms: &Vec<Form>| {
                forms.iter().min_by(|a, b| takes(a).total_cmp(&takes(b))).copied()
            };
            let sum: Form = all.iter().filter_map(best).sum();
            if sum.bytes > 0 && found.last() != Some(&sum) {
                found.push(sum);
            }
        }
        found
    }

    /// Whether no value may be encoded.
    pub(crate) fn is_empty(&self) -> bool {
        self.values.values().all(|v| v.1.is_empty())
    }

    /// Number of measured values, and how many of them match a model, where `bytes` gives a value's
    /// size by name.
    pub fn known(&self, bytes: &dyn Fn(&str) -> Option<u64>) -> (usize, usize) {
        let all = self.values.iter();
        (self.values.len(), all.filter(|(name, v)| bytes(name) == Some(v.0)).count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Profile {
        let coded =
            |codec, bytes, seconds, error| CodecMeasurement { codec, bytes, seconds, error };
        let value = |name: &str, bytes, codecs| ValueCodecs { name: name.into(), bytes, codecs };
        let x = vec![
            coded(Codec::Lz4, 600, 0.5, 0.0),
            coded(Codec::F16, 500, 0.25, 1e-3),
            coded(Codec::Int8, 255, 1.0, 0.1),
        ];
        let y = vec![coded(Codec::Lz4, 150, 0.125, 0.0), coded(Codec::Int8, 300, 0.0, 0.0)];
        Profile { values: vec![value("x", 1000, x), value("y", 200, y)], ..Profile::default() }
    }

    #[test]
    fn values_go_in_the_form_that_is_soonest() {
        let slow = Link::new(8.0 * 100.0, 3.0);
        let fast = Link::new(8.0 * 1e6, 3.0);
        let chosen = |most, link: &Link, name, bytes| {
            AllowedCodecs::of(&profile(), most).choose(link, name, bytes).0
        };
        assert_eq!(chosen(0.0, &slow, "x", 1000), Some(Codec::Lz4));
        // `y` as int8 showed no change when it was measured.
        let mut silent = profile();
        silent.values[1].codecs[1].bytes = 50;
        let exact = AllowedCodecs::of(&silent, 0.0);
        assert_eq!(exact.choose(&slow, "y", 200).0, Some(Codec::Lz4));
        assert_eq!(chosen(1e-2, &slow, "x", 1000), Some(Codec::F16));
        assert_eq!(chosen(1.0, &slow, "x", 1000), Some(Codec::Int8));
        assert_eq!(chosen(1.0, &fast, "x", 1000), None);
        // Other sizes and unknown values are sent unencoded, and no form is larger than the value.
        assert_eq!(chosen(1.0, &slow, "x", 4000), None);
        assert_eq!(chosen(1.0, &slow, "z", 1000), None);
        assert_eq!(chosen(1.0, &slow, "y", 200), Some(Codec::Lz4));
    }

    /// At every rate, the best combined form equals the sum of each value's best form.
    #[test]
    fn forms_together_are_those_of_each() {
        let codecs = AllowedCodecs::of(&profile(), 1.0);
        let values = [("x", 1000), ("y", 200), ("z", 7)];
        let forms = codecs.together(&values);
        assert!(forms.len() > 2, "{forms:?}");
        for power in -40..40 {
            let link = Link::new(8.0 * 1.3f64.powi(power), 0.5);
            let one = |&(name, bytes): &(&str, u64)| link.flow(codecs.choose(&link, name, bytes).1);
            let want: f64 = values.iter().map(one).sum();
            let least = forms.iter().map(|f| link.flow(*f)).fold(f64::INFINITY, f64::min);
            assert!((want - least).abs() <= 1e-12 * want, "{want} {least}");
        }
        assert_eq!(AllowedCodecs::default().together(&values), [Form::plain(1207)]);
        assert_eq!(AllowedCodecs::default().together(&[]), []);
    }
}
