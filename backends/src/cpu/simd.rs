//! Running a loop with the widest vectors that the machine has.
//!
//! The loops are ordinary Rust and do the same arithmetic on every machine: `mul_add` rounds once
//! with or without an instruction for it, and nothing is reassociated.
#![allow(unsafe_code)] // Calls of functions that need CPU features, after checking for them.

/// What the machine offers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Level {
    /// Nothing beyond the target's baseline.
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// The best of this machine.
    #[inline]
    pub(crate) fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512bw")
            {
                return Self::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Self::Avx2;
            }
        }
        Self::Portable
    }
}

/// A loop that is worth being compiled for each kind of vectors. `run` must be
/// `#[inline(always)]`: what is called rather than inlined is compiled for the baseline.
pub(crate) trait Loop {
    /// Runs the loop, compiled for the level of vector instructions.
    fn run(self);
}

/// Runs the loop, compiled for the widest vectors of this machine.
#[inline]
pub(crate) fn widest(l: impl Loop) {
    match Level::best() {
        Level::Portable => l.run(),
        // SAFETY: the features were detected.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { loop_avx2(l) },
        // SAFETY: the features were detected.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { loop_avx512(l) },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn loop_avx2(l: impl Loop) {
    l.run();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
fn loop_avx512(l: impl Loop) {
    l.run();
}

/// Runs `f`, compiled for the widest vectors of this machine if the compiler inlines it, as it
/// does with small closures.
#[inline(always)]
pub(crate) fn vectorised<R>(f: impl FnOnce() -> R) -> R {
    match Level::best() {
        Level::Portable => f(),
        // SAFETY: the features were detected.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2(f) },
        // SAFETY: the features were detected.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { avx512(f) },
    }
}

/// As [`vectorised`], but only for the types of elements that it is worth compiling thrice for.
#[inline(always)]
pub(crate) fn vectorised_for<T: super::array::Element, R>(f: impl FnOnce() -> R) -> R {
    if T::WIDE { vectorised(f) } else { f() }
}

/// As [`widest`] for `f32` and `f64`, whose `mul_add` is slow without an instruction for it.
#[inline]
pub(crate) fn widest_float<T: super::array::Element>(l: impl Loop) {
    if T::WIDE || matches!(T::DTYPE, graph_opt_ir::DType::F64) { widest(l) } else { l.run() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<R>(f: impl FnOnce() -> R) -> R {
    f()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
fn avx512<R>(f: impl FnOnce() -> R) -> R {
    f()
}
