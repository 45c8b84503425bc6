//! Which units stay: by what is lost after refitting, or by norms.

use graph_opt_ir::Graph;
use graph_opt_passes::blocks::Coupled;

use super::error::ScaleError;
use super::linear::{self, Options};
use super::sums::Sums;

/// Swaps that are tried after the greedy removal.
const SWAPS: usize = 64;
/// Ridge of the selection, relative to the mean of the Gram's diagonal.
const RIDGE: f64 = 1e-4;

/// What a selector sees: a set of coupled channels of a block, and the sums of the layers that read them.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// The block as it is now.
    pub graph: &'a Graph,
    /// The channels.
    pub coupled: &'a Coupled,
    /// The sums of those readers that can be fitted.
    pub sums: &'a [Sums],
}

impl Site<'_> {
    /// For each unit, its columns in the reader.
    pub fn columns(&self, sums: &Sums) -> Vec<Vec<usize>> {
        let mut all = vec![Vec::new(); self.coupled.units];
        for (channel, unit) in self.image_units(sums).iter().enumerate() {
            if let Some(u) = *unit {
                all[u].extend(sums.columns([channel]));
            }
        }
        all
    }

    /// For each channel of the reader's image, its unit.
    pub fn image_units(&self, sums: &Sums) -> Vec<Option<usize>> {
        let key = (sums.layer.image, sums.reader.image_axis);
        let axis = self.coupled.axes.iter().find(|a| (a.value, a.axis) == key);
        axis.map(|a| a.unit.clone()).unwrap_or_else(|| vec![None; sums.layer.channels])
    }
}

/// What chooses the units of a block that stay.
pub trait Selector {
    /// Name, for reports.
    fn name(&self) -> &'static str;

    /// The units to keep, `count` of them.
    ///
    /// # Errors
    /// If the sums cannot be solved.
    fn select(&self, site: &Site<'_>, count: usize) -> Result<Vec<usize>, ScaleError>;
}

/// The sum of the absolute values of the weights that make a unit (Li et al., *Pruning Filters for Efficient
/// ConvNets*, ICLR 2017).
#[derive(Clone, Copy, Debug, Default)]
pub struct L1;

/// The root of the sum of the squares of the weights that make a unit.
#[derive(Clone, Copy, Debug, Default)]
pub struct L2;

/// The energy of the unit's values in the calibration data.
#[derive(Clone, Copy, Debug, Default)]
pub struct Activation;

/// What the readers lose if the unit goes and the others are fitted again, jointly over all readers: greedy
/// removal and swaps, from [`linear::select`]. Never worse than [`L1`] on the calibration data.
#[derive(Clone, Copy, Debug, Default)]
pub struct Residual;

impl Selector for L1 {
    fn name(&self) -> &'static str {
        "l1"
    }

    fn select(&self, site: &Site<'_>, count: usize) -> Result<Vec<usize>, ScaleError> {
        Ok(largest(&weight_norms(site, f64::abs), count))
    }
}

impl Selector for L2 {
    fn name(&self) -> &'static str {
        "l2"
    }

    fn select(&self, site: &Site<'_>, count: usize) -> Result<Vec<usize>, ScaleError> {
        Ok(largest(&weight_norms(site, |w| w * w), count))
    }
}

impl Selector for Activation {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn select(&self, site: &Site<'_>, count: usize) -> Result<Vec<usize>, ScaleError> {
        let mut score = vec![0.0; site.coupled.units];
        for s in site.sums {
            let energy: f64 = (0..s.layer.columns()).map(|c| s.fitted.energy(c)).sum();
            for (u, columns) in site.columns(s).iter().enumerate() {
                let own: f64 = columns.iter().map(|&c| s.fitted.energy(c)).sum();
                score[u] += own / energy.max(f64::MIN_POSITIVE);
            }
        }
        Ok(largest(&score, count))
    }
}

impl Selector for Residual {
    fn name(&self) -> &'static str {
        "residual"
    }

    fn select(&self, site: &Site<'_>, count: usize) -> Result<Vec<usize>, ScaleError> {
        let l1 = L1.select(site, count)?;
        if site.sums.is_empty() {
            return Ok(l1);
        }
        let readers: Vec<linear::Reader<'_>> = site
            .sums
            .iter()
            .map(|s| {
                let units = site.columns(s);
                let unit_of = site.image_units(s);
                let stay = (0..unit_of.len()).filter(|&c| unit_of[c].is_none());
                let mut fixed = s.columns(stay);
                fixed.extend(s.bias());
                let spread = s.fitted.spread();
                let weight = if spread > 0.0 { 1.0 / spread } else { 0.0 };
                linear::Reader { normal: &s.fitted, units, fixed, weight, prior: Some(&s.prior) }
            })
            .collect();
        let options = Options { ridge: RIDGE, swaps: SWAPS };
        let label = site.graph.label(site.sums[0].layer.node);
        let chosen = linear::select(&readers, &[count], &[l1], &options)
            .map_err(|source| ScaleError::Linear { layer: label.into(), source })?;
        Ok(chosen.into_iter().next().map(|s| s.keep).unwrap_or_default())
    }
}

/// For each unit, the sum over the weights that make it: constants of two axes and more, but not those of
/// the readers along the axis that they sum over.
fn weight_norms(site: &Site<'_>, term: impl Fn(f64) -> f64) -> Vec<f64> {
    let mut score = vec![0.0; site.coupled.units];
    for a in &site.coupled.axes {
        let Some(t) = site.graph.constant(a.value).filter(|t| t.dims().len() > 1) else { continue };
        let read = site.coupled.readers.iter().any(|r| {
            let weights = site.graph.node(r.node).inputs.get(r.weights).copied().flatten();
            weights == Some(a.value) && r.weights_axis == a.axis
        });
        let Some(values) = t.to_f32s().filter(|_| !read) else { continue };
        let inner: u64 = t.dims()[a.axis + 1..].iter().product();
        let extent = t.dims()[a.axis];
        for (i, &w) in values.iter().enumerate() {
            let at = (i as u64 / inner.max(1) % extent) as usize;
            if let Some(u) = a.unit[at] {
                score[u] += term(f64::from(w));
            }
        }
    }
    score
}

/// The units with the largest scores, ascending; of equal ones the first.
fn largest(score: &[f64], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..score.len()).collect();
    order.sort_by(|&a, &b| score[b].total_cmp(&score[a]));
    order.truncate(count);
    order.sort_unstable();
    order
}
