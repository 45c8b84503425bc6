//! How well a network does on samples: the measure, its standard error, and the comparison of two
//! networks on the same samples.

use std::fmt;

use graph_opt_ir::{DType, Tensor};

/// A measure of a network's outputs on labelled samples, or against another network's outputs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Metric {
    /// Share of samples whose class is the label: the class is the first greatest of the first output
    /// or, if it has one channel only, whether that is positive (see [`Score`] for probabilities).
    Accuracy,
    /// Mean over samples of the intersection over union of label and first output. With one channel,
    /// that of the foreground, where labels are not 0, and 1 if there is none in both; with more, the
    /// mean over the classes that occur in either. Labels that are no class, such as 255, do not count.
    Iou,
    /// ‖y − r‖ / ‖r‖ of each output y and its reference r: the mean over samples of the numerator by
    /// that of the denominator, then the mean over outputs.
    Error,
    /// Mean over samples of the mean squared difference of first output and label.
    Mse,
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accuracy => "accuracy",
            Self::Iou => "mean intersection over union",
            Self::Error => "relative error",
            Self::Mse => "mean squared error",
        })
    }
}

/// Outputs or labels that a metric cannot be taken of.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetricError {
    /// Labels that fit no metric: their type, and that of the output.
    #[error(
        "labels of {0} fit no metric for an output of {1}; expected integers, one a sample (classes) or \
         one for each point (masks), or floats of the output's shape"
    )]
    Labels(String, String),
    /// The metric needs labels or reference outputs that are not there.
    #[error("{0} needs {1}; found none")]
    Lacks(Metric, &'static str),
    /// A class that the network does not know: the label, and the number of classes.
    #[error("a label is {0}, but the network knows the classes 0 to {max} only", max = .1 - 1)]
    Class(i64, usize),
    /// An output and its reference differ in shape: both types.
    #[error("an output is {0}, but the reference is {1}; compare outputs of the same inputs")]
    Reference(String, String),
    /// The first axis of an output or of labels is not that of the samples: the type, and the number of
    /// samples.
    #[error("{0} does not hold {1} samples along its first axis; run one sample at a time")]
    Samples(String, usize),
    /// A tensor that is not numbers: its element type.
    #[error("expected numbers, found a tensor of {0}")]
    Numbers(DType),
    /// Scores that are not of the same metric on the same samples.
    #[error("expected scores of the same metric on equally many samples, found {0} and {1}")]
    Unpaired(String, String),
}

impl Metric {
    /// The metric for these labels of the samples that gave these outputs: accuracy for integers, one a
    /// sample; intersection over union for integers, one for each point; mean squared error for floats
    /// of the first output's shape; without labels, the error against reference outputs.
    ///
    /// # Errors
    /// If the labels fit none.
    pub fn of(labels: Option<&Tensor>, outputs: &[Tensor]) -> Result<Self, MetricError> {
        let Some(labels) = labels else { return Ok(Self::Error) };
        let output = first(outputs)?;
        let unfit = || unfit(labels, output);
        if is_whole(labels) {
            let classes = Classes::of(labels, output).ok_or_else(unfit)?;
            let samples = labels.dims().first().copied().unwrap_or(1);
            return Ok(if classes.points() == samples as usize {
                Self::Accuracy
            } else {
                Self::Iou
            });
        }
        let same = labels.dtype().is_float() && plain(labels.dims()) == plain(output.dims());
        if same { Ok(Self::Mse) } else { Err(unfit()) }
    }

    /// Whether a network with a higher value is better.
    pub fn better_is_higher(self) -> bool {
        matches!(self, Self::Accuracy | Self::Iou)
    }
}

/// The value of a metric on samples that are added batch by batch.
///
/// An output of one channel is a logit, and positive means yes; if it is between 0 and 1 on all samples,
/// it is a probability, and more than 0.5 means yes. An output of integers in the shape of the labels
/// is the classes themselves.
#[derive(Clone, Debug)]
pub struct Score {
    metric: Metric,
    /// Of each sample; for outputs of one channel, taken as logits.
    scores: Vec<f64>,
    /// The same, taken as probabilities; empty if some output is below 0 or above 1, or there are more
    /// channels.
    likely: Vec<f64>,
    /// For [`Metric::Error`], by outputs: ‖y − r‖ of each sample, and the sum of ‖r‖.
    errors: Vec<(Vec<f64>, f64)>,
}

impl Score {
    /// Of no samples yet.
    pub fn new(metric: Metric) -> Self {
        Self { metric, scores: Vec::new(), likely: Vec::new(), errors: Vec::new() }
    }

    /// The metric.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// Number of samples so far.
    pub fn samples(&self) -> usize {
        self.errors.first().map_or(self.scores.len(), |(norms, _)| norms.len())
    }

    /// Adds a batch of this many samples. Labels are needed by all metrics but [`Metric::Error`], which
    /// needs the reference outputs.
    ///
    /// # Errors
    /// If what is needed is missing, of another shape, or not numbers. Nothing is added then.
    pub fn add(
        &mut self,
        samples: usize,
        outputs: &[Tensor],
        labels: Option<&Tensor>,
        reference: Option<&[Tensor]>,
    ) -> Result<(), MetricError> {
        if self.metric == Metric::Error {
            let reference =
                reference.ok_or(MetricError::Lacks(self.metric, "reference outputs"))?;
            return self.add_errors(samples, outputs, reference);
        }
        let labels = labels.ok_or(MetricError::Lacks(self.metric, "labels"))?;
        let output = first(outputs)?;
        if self.metric == Metric::Mse {
            if plain(labels.dims()) != plain(output.dims()) {
                return Err(unfit(labels, output));
            }
            let (y, r) = (numbers(output)?, numbers(labels)?);
            let each = each(&y, samples, output)?;
            let rows = y.chunks(each).zip(r.chunks(each));
            self.scores.extend(rows.map(|(y, r)| squares(y, r) / each as f64));
            return Ok(());
        }
        let layout = Classes::of(labels, output).ok_or_else(|| unfit(labels, output))?;
        let wants = labels.to_i64s().ok_or_else(|| unfit(labels, output))?;
        let y = numbers(output)?;
        let points = each(&wants, samples, labels)?;
        let classes = match layout.channels {
            Channels::Index => {
                let top = y.iter().map(|y| *y as i64).chain(wants.iter().copied()).max();
                top.unwrap_or(0).clamp(0, MOST_CLASSES) as usize + 1
            }
            Channels::One => 2,
            Channels::Many(n) => n,
        };
        let one = layout.channels == Channels::One;
        let known = 0..classes as i64;
        if self.metric == Metric::Accuracy
            && let Some(&label) = wants.iter().find(|label| !known.contains(label))
        {
            return Err(MetricError::Class(label, classes));
        }
        let scores = |threshold: f64| -> Vec<f64> {
            let found: Vec<i64> =
                (0..wants.len()).map(|i| layout.found(&y, i, threshold)).collect();
            let rows = found.chunks(points).zip(wants.chunks(points));
            rows.map(|(found, wants)| match self.metric {
                Metric::Accuracy => hits(found, wants),
                _ if one => foreground(found, wants),
                _ => iou(found, wants, classes),
            })
            .collect()
        };
        let new = scores(0.0);
        let unit = one && y.iter().all(|y| y.is_nan() || (0.0..=1.0).contains(y));
        if unit && self.likely.len() == self.scores.len() {
            self.likely.extend(scores(0.5));
        } else {
            self.likely.clear();
        }
        self.scores.extend(new);
        Ok(())
    }

    fn add_errors(
        &mut self,
        samples: usize,
        outputs: &[Tensor],
        reference: &[Tensor],
    ) -> Result<(), MetricError> {
        let types =
            |all: &[Tensor]| all.iter().map(|t| t.ty().to_string()).collect::<Vec<_>>().join(", ");
        let same = |(y, r): (&Tensor, &Tensor)| y.dims() == r.dims();
        let before = self.errors.len();
        let alike = outputs.len() == reference.len() && (before == 0 || before == outputs.len());
        if !alike || !outputs.iter().zip(reference).all(same) {
            return Err(MetricError::Reference(types(outputs), types(reference)));
        }
        let mut new = Vec::with_capacity(outputs.len());
        for (y, r) in outputs.iter().zip(reference) {
            let (ys, rs) = (numbers(y)?, numbers(r)?);
            let each = each(&ys, samples, y)?;
            let zeros = vec![0.0; each];
            let norms: Vec<f64> =
                ys.chunks(each).zip(rs.chunks(each)).map(|(y, r)| squares(y, r).sqrt()).collect();
            new.push((norms, rs.chunks(each).map(|r| squares(r, &zeros).sqrt()).sum::<f64>()));
        }
        if self.errors.is_empty() {
            self.errors = new;
            return Ok(());
        }
        for (all, new) in self.errors.iter_mut().zip(new) {
            all.0.extend(new.0);
            all.1 += new.1;
        }
        Ok(())
    }

    /// The score of each sample. The metric's value is their mean.
    fn each(&self) -> Vec<f64> {
        if self.metric != Metric::Error {
            let likely = self.likely.len() == self.scores.len();
            return if likely { &self.likely } else { &self.scores }.clone();
        }
        let samples = self.samples();
        let mut sums = vec![0.0; samples];
        for (norms, sum) in &self.errors {
            // An output that ought to be 0 everywhere has no error, or an infinite one.
            let by = sum / samples as f64 * self.errors.len() as f64;
            for (s, norm) in sums.iter_mut().zip(norms).filter(|(_, norm)| **norm != 0.0) {
                *s += norm / by;
            }
        }
        sums
    }

    /// The metric on all samples; NaN if there are none.
    pub fn value(&self) -> f64 {
        mean(&self.each())
    }

    /// Standard error of the value: of a binomial distribution for accuracy, else from the variance over
    /// samples. NaN if there are too few samples to tell.
    pub fn standard_error(&self) -> f64 {
        let all = self.each();
        if self.metric == Metric::Accuracy {
            let p = mean(&all);
            return (p * (1.0 - p) / all.len() as f64).sqrt();
        }
        deviation(&all)
    }

    /// Difference of this value from the other one, and its standard error from the differences of each
    /// sample's scores. For networks that mostly agree, it is far below that of either value.
    ///
    /// # Errors
    /// If the metrics or the numbers of samples differ. That the samples are the same, and in the same
    /// order, is up to the caller.
    pub fn paired(&self, other: &Self) -> Result<(f64, f64), MetricError> {
        if self.metric != other.metric || self.samples() != other.samples() {
            let what = |s: &Self| format!("{} on {} samples", s.metric, s.samples());
            return Err(MetricError::Unpaired(what(self), what(other)));
        }
        let (a, b) = (self.each(), other.each());
        let differences: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a - b).collect();
        Ok((mean(&differences), deviation(&differences)))
    }
}

/// The greatest class that an output may name itself.
const MOST_CLASSES: i64 = 1 << 16;

/// How an output says which class it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Channels {
    /// By the number of the class.
    Index,
    /// By one channel, whether it is greater than a threshold.
    One,
    /// By the greatest of this many channels.
    Many(usize),
}

/// Where the classes of an output are: it is outer × channels × inner, and labels are outer × inner.
struct Classes {
    outer: usize,
    channels: Channels,
    inner: usize,
}

impl Classes {
    /// The axis without which the output has the shape of the labels: the second, as in NCHW, or the last
    /// one, if the second does not do. None at all, if the shapes are equal.
    fn of(labels: &Tensor, output: &Tensor) -> Option<Self> {
        let (want, dims) = (plain(labels.dims()), output.dims());
        if want == plain(dims) {
            let channels = if is_whole(output) { Channels::Index } else { Channels::One };
            return Some(Self { outer: output.len(), channels, inner: 1 });
        }
        let size = |dims: &[u64]| dims.iter().product::<u64>() as usize;
        let without = |axis: usize| {
            let channels = Channels::Many(*dims.get(axis)? as usize);
            let rest = [&dims[..axis], &dims[axis + 1..]].concat();
            let (outer, inner) = (size(&dims[..axis]), size(&dims[axis + 1..]));
            (plain(&rest) == want).then_some(Self { outer, channels, inner })
        };
        without(1).or_else(|| without(dims.len().checked_sub(1)?))
    }

    /// Number of places that have a class.
    fn points(&self) -> usize {
        self.outer * self.inner
    }

    /// The class at a place: for one channel 1 above the threshold, else 0; −1 if no channel is a number.
    fn found(&self, y: &[f64], point: usize, threshold: f64) -> i64 {
        let channels = match self.channels {
            Channels::Index => return y[point] as i64,
            Channels::One => return i64::from(y[point] > threshold),
            Channels::Many(n) => n,
        };
        let start = point / self.inner * channels * self.inner + point % self.inner;
        let (mut best, mut at) = (f64::NEG_INFINITY, -1);
        for c in 0..channels {
            let x = y[start + c * self.inner];
            if x > best || (at < 0 && !x.is_nan()) {
                (best, at) = (x, c as i64);
            }
        }
        at
    }
}

/// Share of points whose class is right.
fn hits(found: &[i64], wants: &[i64]) -> f64 {
    let right = found.iter().zip(wants).filter(|(found, want)| found == want).count();
    right as f64 / wants.len() as f64
}

/// Intersection over union of the foreground, 1 if there is none in both.
fn foreground(found: &[i64], wants: &[i64]) -> f64 {
    let (mut both, mut either) = (0usize, 0usize);
    for (&found, &want) in found.iter().zip(wants) {
        both += usize::from(found != 0 && want != 0);
        either += usize::from(found != 0 || want != 0);
    }
    if either == 0 { 1.0 } else { both as f64 / either as f64 }
}

/// Mean intersection over union of the classes that occur.
fn iou(found: &[i64], wants: &[i64], classes: usize) -> f64 {
    let mut counts = vec![(0usize, 0usize); classes];
    for (&found, &want) in found.iter().zip(wants) {
        let Some(count) = usize::try_from(want).ok().and_then(|want| counts.get_mut(want)) else {
            continue;
        };
        count.1 += 1;
        count.0 += usize::from(found == want);
        let other = usize::try_from(found).ok().filter(|_| found != want);
        if let Some(count) = other.and_then(|found| counts.get_mut(found)) {
            count.1 += 1;
        }
    }
    let occur = counts.into_iter().filter(|(_, either)| *either > 0);
    let all: Vec<f64> = occur.map(|(both, either)| both as f64 / either as f64).collect();
    // A sample without any label that counts cannot be wrong.
    if all.is_empty() { 1.0 } else { mean(&all) }
}

/// Extents without those of 1, which models have or lack.
fn plain(dims: &[u64]) -> Vec<u64> {
    dims.iter().copied().filter(|&n| n != 1).collect()
}

fn is_whole(t: &Tensor) -> bool {
    t.dtype().is_int() || t.dtype() == DType::Bool
}

fn first(outputs: &[Tensor]) -> Result<&Tensor, MetricError> {
    outputs.first().ok_or_else(|| MetricError::Samples("a network without outputs".into(), 1))
}

fn unfit(labels: &Tensor, output: &Tensor) -> MetricError {
    MetricError::Labels(labels.ty().to_string(), output.ty().to_string())
}

fn numbers(t: &Tensor) -> Result<Vec<f64>, MetricError> {
    if let Some(all) = t.to_f32s() {
        return Ok(all.into_iter().map(f64::from).collect());
    }
    let all = t.to_i64s().ok_or(MetricError::Numbers(t.dtype()))?;
    Ok(all.into_iter().map(|x| x as f64).collect())
}

/// Number of elements of one sample.
fn each<T>(all: &[T], samples: usize, t: &Tensor) -> Result<usize, MetricError> {
    let fits = samples == 1 || t.dims().first() == Some(&(samples as u64));
    if !fits || samples == 0 || all.is_empty() {
        return Err(MetricError::Samples(t.ty().to_string(), samples));
    }
    Ok(all.len() / samples)
}

/// Sum of squared differences.
fn squares(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

fn mean(all: &[f64]) -> f64 {
    all.iter().sum::<f64>() / all.len() as f64
}

/// Standard error of the mean, NaN if there are fewer than two.
fn deviation(all: &[f64]) -> f64 {
    let (n, mean) = (all.len() as f64, mean(all));
    let variance = all.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / (n - 1.0);
    (variance / n).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(dims: &[u64], values: &[f32]) -> Tensor {
        Tensor::f32s(dims, values).unwrap()
    }

    fn whole(dims: &[u64], values: &[i64]) -> Tensor {
        Tensor::i64s(values).reshaped(dims.to_vec()).unwrap()
    }

    fn score(metric: Metric, samples: usize, output: &Tensor, labels: &Tensor) -> Score {
        let mut score = Score::new(metric);
        score.add(samples, std::slice::from_ref(output), Some(labels), None).unwrap();
        score
    }

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-9, "{a} is not {b}");
    }

    #[test]
    fn the_metric_follows_from_types_and_shapes() {
        let of = |labels: &Tensor, output: &[u64]| {
            let n = output.iter().product::<u64>() as usize;
            Metric::of(Some(labels), &[floats(output, &vec![0.0; n])])
        };
        let classes = whole(&[2], &[0, 1]);
        assert_eq!(of(&classes, &[2, 10]).unwrap(), Metric::Accuracy);
        assert_eq!(of(&classes, &[2, 10, 1, 1]).unwrap(), Metric::Accuracy);
        assert_eq!(of(&classes, &[2, 1]).unwrap(), Metric::Accuracy);
        assert_eq!(of(&whole(&[2, 1], &[0, 1]), &[2, 10]).unwrap(), Metric::Accuracy);
        assert_eq!(of(&whole(&[1], &[7]), &[1, 10]).unwrap(), Metric::Accuracy);
        assert_eq!(of(&whole(&[1], &[7]), &[10]).unwrap(), Metric::Accuracy);
        let masks = whole(&[2, 3, 4], &[1; 24]);
        for output in [&[2, 1, 3, 4][..], &[2, 5, 3, 4], &[2, 3, 4, 5]] {
            assert_eq!(of(&masks, output).unwrap(), Metric::Iou);
        }
        assert_eq!(of(&floats(&[2, 4], &[0.0; 8]), &[2, 1, 4]).unwrap(), Metric::Mse);
        assert_eq!(Metric::of(None, &[]).unwrap(), Metric::Error);
        let e = of(&whole(&[3], &[0; 3]), &[2, 10]).unwrap_err().to_string();
        assert!(e.contains("labels of i64[3] fit no metric for an output of f32[2,10]"), "{e}");
        assert!(of(&floats(&[2], &[0.0; 2]), &[2, 10]).is_err());
    }

    #[test]
    fn accuracy_and_its_binomial_error() {
        let output = floats(&[4, 3], &[1., 0., 0., 0., 2., 2., f32::NAN, -1., -3., 0., 0., 9.]);
        let score = score(Metric::Accuracy, 4, &output, &whole(&[4], &[0, 1, 1, 0]));
        near(score.value(), 0.75);
        near(score.standard_error(), (0.75f64 * 0.25 / 4.0).sqrt());
        assert_eq!(score.samples(), 4);
        let mut more = score.clone();
        let e = more.add(1, &[floats(&[1, 3], &[0.; 3])], Some(&whole(&[1], &[3])), None);
        assert!(e.unwrap_err().to_string().contains("a label is 3, but the network knows"));
        assert_eq!(more.samples(), 4);
    }

    #[test]
    fn one_channel_is_a_probability_or_a_logit() {
        let labels = whole(&[4], &[1, 0, 1, 0]);
        let likely = floats(&[4, 1], &[0.9, 0.1, 0.6, 0.4]);
        near(score(Metric::Accuracy, 4, &likely, &labels).value(), 1.0);
        let broken = floats(&[4, 1], &[0.9, 0.1, f32::NAN, 0.4]);
        near(score(Metric::Accuracy, 4, &broken, &labels).value(), 0.75);
        let logits = floats(&[4, 1], &[0.9, -0.1, 0.2, -4.0]);
        near(score(Metric::Accuracy, 4, &logits, &labels).value(), 1.0);
        // A batch between 0 and 1 among logits.
        let mut all = score(Metric::Accuracy, 4, &likely, &labels);
        all.add(4, &[logits], Some(&labels), None).unwrap();
        near(all.value(), 0.75);
        let mut all =
            score(Metric::Accuracy, 4, &floats(&[4, 1], &[0.9, -0.1, 0.2, -4.0]), &labels);
        all.add(4, &[likely], Some(&labels), None).unwrap();
        near(all.value(), 0.75);
    }

    #[test]
    fn intersection_over_union() {
        // 1 in both of 3 in either; none in both.
        let logits = floats(&[2, 1, 1, 4], &[1., 1., -1., -1., -1., -1., -1., -1.]);
        let masks = whole(&[2, 1, 4], &[0, 255, 255, 0, 0, 0, 0, 0]);
        let one = score(Metric::Iou, 2, &logits, &masks);
        near(one.value(), (1.0 / 3.0 + 1.0) / 2.0);
        // Deviations of 1/3 from the mean of two.
        near(one.standard_error(), 1.0 / 3.0);
        // Classes 0, 1 and 2; found 0 0 1 1, labelled 0 1 1 ignored: 1/2, 1/2, and 2 does not occur.
        let found = [5., 5., 0., 0., 0., 0., 5., 5., 1., 1., 1., 1.];
        let many = score(
            Metric::Iou,
            1,
            &floats(&[1, 3, 2, 2], &found),
            &whole(&[1, 2, 2], &[0, 1, 1, 255]),
        );
        near(many.value(), 0.5);
        // The same with the classes last.
        let last: Vec<f32> = (0..12).map(|i| found[i % 3 * 4 + i / 3]).collect();
        let labels = whole(&[1, 2, 2], &[0, 1, 1, 255]);
        near(score(Metric::Iou, 1, &floats(&[1, 2, 2, 3], &last), &labels).value(), 0.5);
        // The network's own argmax.
        let index = whole(&[1, 1, 2, 2], &[0, 0, 1, 1]);
        near(score(Metric::Iou, 1, &index, &whole(&[1, 2, 2], &[0, 1, 1, -1])).value(), 0.5);
    }

    #[test]
    fn squared_and_relative_errors() {
        let mse = score(
            Metric::Mse,
            2,
            &floats(&[2, 2], &[1., 2., 3., 4.]),
            &floats(&[2, 2], &[1., 0., 3., 3.]),
        );
        near(mse.value(), (2.0 + 0.5) / 2.0);
        near(mse.standard_error(), 0.75);
        // ‖y − r‖ is 1 and 3, ‖r‖ 5 and 3: 4/8; the second output is exact, though its reference is 0.
        let outputs = [floats(&[2, 2], &[4., 4., 0., 0.]), floats(&[2, 1], &[0., 0.])];
        let reference = [floats(&[2, 2], &[3., 4., 0., 3.]), floats(&[2, 1], &[0., 0.])];
        let mut error = Score::new(Metric::Error);
        error.add(2, &outputs, None, Some(&reference)).unwrap();
        near(error.value(), 0.25);
        // Batch by batch it is the same.
        let mut split = Score::new(Metric::Error);
        for i in 0..2 {
            let row = |all: &[Tensor]| {
                let [a, b] = all else { panic!("two outputs") };
                let values = &a.to_f32s().unwrap()[2 * i..2 * i + 2];
                [floats(&[1, 2], values), floats(&[1, 1], &b.to_f32s().unwrap()[i..i + 1])]
            };
            split.add(1, &row(&outputs), None, Some(&row(&reference))).unwrap();
        }
        near(split.value(), error.value());
        near(split.standard_error(), error.standard_error());
        let e = error.add(2, &outputs, None, None).unwrap_err().to_string();
        assert_eq!(e, "relative error needs reference outputs; found none");
        let e = error.add(2, &outputs[..1], None, Some(&reference)).unwrap_err().to_string();
        assert!(
            e.contains("an output is f32[2,2], but the reference is f32[2,2], f32[2,1]"),
            "{e}"
        );
        let e = error.add(3, &outputs, None, Some(&reference)).unwrap_err().to_string();
        assert!(e.contains("3 samples along its first axis"), "{e}");
    }

    #[test]
    fn networks_that_agree_differ_with_a_small_error() {
        // 100 samples, 60 right; the other network is right on one more.
        let labels = whole(&[100], &[1; 100]);
        let output = |right: usize| {
            let all: Vec<f32> = (0..100).map(|i| if i < right { 1.0 } else { -1.0 }).collect();
            floats(&[100, 1], &all)
        };
        let a = score(Metric::Accuracy, 100, &output(61), &labels);
        let b = score(Metric::Accuracy, 100, &output(60), &labels);
        let (difference, error) = a.paired(&b).unwrap();
        near(difference, 0.01);
        near(error, 0.01);
        assert!(a.standard_error() > 4.0 * error);
        assert!(a.paired(&Score::new(Metric::Accuracy)).is_err());
        assert!(a.metric().better_is_higher() && !Metric::Mse.better_is_higher());
    }
}
