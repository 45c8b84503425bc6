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

/// A function of one element that is inlined into vectorised loops.
///
/// Closures are such functions, as the compiler inlines small ones. Without an instruction for it, it
/// takes `mul_add` for a call and does not inline what has many: that is written with [`inlined!`].
pub(crate) trait Function<T>: Copy {
    fn of(self, x: T) -> T;
}

impl<T, F: Fn(T) -> T + Copy> Function<T> for F {
    #[inline(always)]
    fn of(self, x: T) -> T {
        self(x)
    }
}

/// A [`Function`] of reals that is inlined however large it is: `inlined!(key, [captured], |x, key| value)`.
/// What it captures are reals.
macro_rules! inlined {
    ($key:expr, [$($c:ident),*], |$x:ident, $k:ident| $value:expr) => {{
        #[derive(Clone, Copy)]
        struct Inlined<'k, T> {
            key: $crate::cpu::field::Key<'k>,
            captured: std::marker::PhantomData<T>,
            $($c: T,)*
        }
        impl<T: $crate::cpu::scalar::Real> $crate::cpu::simd::Function<T> for Inlined<'_, T> {
            #[inline(always)]
            fn of(self, $x: T) -> T {
                let $k = self.key;
                $(let $c = self.$c;)*
                $value
            }
        }
        Inlined { key: $key, captured: std::marker::PhantomData, $($c,)* }
    }};
}
pub(crate) use inlined;

struct Apply<'a, T, F> {
    run: &'a mut [T],
    f: F,
}

impl<T: Copy, F: Function<T>> Loop for Apply<'_, T, F> {
    #[inline(always)]
    fn run(self) {
        for x in self.run {
            *x = self.f.of(*x);
        }
    }
}

/// Replaces every element by the function of it.
#[inline]
pub(crate) fn apply<T: super::array::Element + Copy>(run: &mut [T], f: impl Function<T>) {
    widest_for::<T>(Apply { run, f });
}

struct ApplyPairs<'a, T, F> {
    run: &'a mut [T],
    other: &'a [T],
    f: F,
}

impl<T: Copy, F: Fn(T, T) -> T> Loop for ApplyPairs<'_, T, F> {
    #[inline(always)]
    fn run(self) {
        for (x, y) in self.run.iter_mut().zip(self.other) {
            *x = (self.f)(*x, *y);
        }
    }
}

/// Replaces every element by the function of it and of the other slice's.
#[inline]
pub(crate) fn apply_pairs<T: super::array::Element + Copy>(
    run: &mut [T],
    other: &[T],
    f: impl Fn(T, T) -> T,
) {
    widest_for::<T>(ApplyPairs { run, other, f });
}

/// As [`widest`], but only for the types of elements that it is worth compiling thrice for.
#[inline]
pub(crate) fn widest_for<T: super::array::Element>(l: impl Loop) {
    if T::WIDE { widest(l) } else { l.run() }
}

/// As [`widest`] for `f32` and `f64`, whose `mul_add` is slow without an instruction for it.
#[inline]
pub(crate) fn widest_float<T: super::array::Element>(l: impl Loop) {
    if T::WIDE || matches!(T::DTYPE, graph_opt_ir::DType::F64) { widest(l) } else { l.run() }
}
