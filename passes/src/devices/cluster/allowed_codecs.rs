//! Allowed codecs.

use std::collections::BTreeMap;

use super::codec::{Codec, CodecMeasurement, ValueCodecs};
use super::profile::Profile;
use crate::devices::problem::{Form, Link};

/// The codecs that a plan may use, by value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AllowedCodecs {
    values: BTreeMap<String, (u64, Vec<(Codec, Form)>)>,
}

impl AllowedCodecs {
    /// Those of a profile without loss and, if `most_error` is over 0, those that were measured to change
    /// outputs by no more than that; each where it makes a value smaller.
    pub fn of(profile: &Profile, most_error: f64) -> Self {
        let one = |v: &ValueCodecs| {
            // A change that no frame showed is no proof that there is none.
            let allowed = |c: &CodecMeasurement| most_error > 0.0 && c.error <= most_error;
            let may =
                |c: &&CodecMeasurement| c.bytes < v.bytes && (c.codec.is_lossless() || allowed(c));
            let form =
                |c: &CodecMeasurement| (c.codec, Form { bytes: c.bytes, seconds: c.seconds });
            (v.name.clone(), (v.bytes, v.codecs.iter().filter(may).map(form).collect()))
        };
        Self { values: profile.values.iter().map(one).collect() }
    }

    /// Forms of a value of so many bytes, other than as it is; what was measured of another size is
    /// not about it.
    fn forms(&self, name: &str, bytes: u64) -> &[(Codec, Form)] {
        match self.values.get(name) {
            Some((size, forms)) if *size == bytes => forms,
            _ => &[],
        }
    }

    /// How a value arrives soonest over a link: the codec, unless it goes as it is, and the form.
    pub fn choose(&self, link: &Link, name: &str, bytes: u64) -> (Option<Codec>, Form) {
        let mut best = (None, Form::plain(bytes));
        for &(codec, form) in self.forms(name, bytes) {
            if link.flow(form) < link.flow(best.1) {
                best = (Some(codec), form);
            }
        }
        best
    }

    /// Forms of several values together, by name and bytes, of which one or the other is soonest over
    /// any link: each value in its best form between two rates at which one of them changes it.
    pub fn together(&self, values: &[(&str, u64)]) -> Vec<Form> {
        let all = |&(name, bytes): &(&str, u64)| -> Vec<Form> {
            let coded = self.forms(name, bytes).iter().map(|f| f.1);
            std::iter::once(Form::plain(bytes)).chain(coded).collect()
        };
        let all: Vec<Vec<Form>> = values.iter().map(all).collect();
        // Seconds a byte at which two forms of a value take equally long.
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

    /// Whether there is any.
    pub fn is_empty(&self) -> bool {
        self.values.values().all(|v| v.1.is_empty())
    }

    /// How many values there are, and how many of them are a model's: `bytes` says how many bytes a
    /// value of a name has there.
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
        // `y` as int8 changed nothing, where it was measured.
        let mut silent = profile();
        silent.values[1].codecs[1].bytes = 50;
        let exact = AllowedCodecs::of(&silent, 0.0);
        assert_eq!(exact.choose(&slow, "y", 200).0, Some(Codec::Lz4));
        assert_eq!(chosen(1e-2, &slow, "x", 1000), Some(Codec::F16));
        assert_eq!(chosen(1.0, &slow, "x", 1000), Some(Codec::Int8));
        assert_eq!(chosen(1.0, &fast, "x", 1000), None);
        // Of another size, or unknown; and nothing goes in a form that is larger.
        assert_eq!(chosen(1.0, &slow, "x", 4000), None);
        assert_eq!(chosen(1.0, &slow, "z", 1000), None);
        assert_eq!(chosen(1.0, &slow, "y", 200), Some(Codec::Lz4));
    }

    /// At every rate, the sum of each value's best form is the best of the forms together.
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
