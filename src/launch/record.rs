//! What a device is asked to do, on record: the emulator notes launches and products as they come, and for a plan it
//! notes them without computing anything.

use std::cell::RefCell;
use std::collections::BTreeMap;

use candle_core::{DType, Storage};

use super::args::{Arg, LaunchShape, Operand, Out, OutputView};

/// One thing that a device is asked to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeviceWork {
    /// A kernel of ours.
    Kernel {
        /// Its name, with the element type.
        name: String,
        /// Blocks along x, y and z.
        grid: [usize; 3],
        /// Threads of a block.
        threads: usize,
        /// Bytes of shared memory that the launch asks for.
        shared: usize,
        /// Its numbers of things, in order.
        counts: Vec<usize>,
        /// Bytes of the tensors that it is given to read, those of one memory once.
        read: usize,
        /// Bytes of the tensors that it makes. What it changes in place is in neither.
        written: usize,
    },
    /// A product that cuBLAS makes.
    Product {
        /// Rows, columns, and the length of a sum.
        sizes: [usize; 3],
        /// Bytes of both operands.
        read: usize,
        /// Bytes of the result, read as well where it is added to.
        written: usize,
        /// Added to what is there.
        keep: bool,
    },
}

thread_local! {
    static RECORD: RefCell<Option<LaunchRecord>> = const { RefCell::new(None) };
}

struct LaunchRecord {
    computes: bool,
    asked: Vec<DeviceWork>,
}

/// What `f` returns and what it asks for on this thread.
pub fn asked_for<R>(f: impl FnOnce() -> R) -> (R, Vec<DeviceWork>) {
    recorded(true, f)
}

/// The same without computing: outputs are zeros. For sizes that no CPU could emulate.
pub fn planned<R>(f: impl FnOnce() -> R) -> (R, Vec<DeviceWork>) {
    recorded(false, f)
}

fn recorded<R>(computes: bool, f: impl FnOnce() -> R) -> (R, Vec<DeviceWork>) {
    RECORD.with_borrow_mut(|record| *record = Some(LaunchRecord { computes, asked: Vec::new() }));
    let result = f();
    let record = RECORD.with_borrow_mut(Option::take);
    (result, record.map_or_else(Vec::new, |record| record.asked))
}

/// Whether what this thread asks for is computed.
pub(super) fn computes() -> bool {
    RECORD.with_borrow(|record| record.as_ref().is_none_or(|record| record.computes))
}

/// Notes it. Whether it is to be computed.
fn note(what: impl FnOnce() -> DeviceWork) -> bool {
    RECORD.with_borrow_mut(|record| match record {
        Some(record) => {
            record.asked.push(what());
            record.computes
        }
        None => true,
    })
}

/// Notes a launch. Whether it is to be run.
pub(super) fn launch(name: &str, shape: LaunchShape, args: &[Arg<'_>]) -> bool {
    let bytes = |dtype: DType, n: usize| n * dtype.size_in_bytes();
    note(|| DeviceWork::Kernel {
        name: name.to_owned(),
        grid: shape.grid,
        threads: shape.threads,
        shared: shape.shared,
        counts: args.iter().filter_map(|arg| if let Arg::Count(n) = arg { Some(*n) } else { None }).collect(),
        read: read(args),
        written: args
            .iter()
            .map(|arg| if let Arg::Out(out) = arg { bytes(out.dtype(), out.len()) } else { 0 })
            .sum(),
    })
}

/// Bytes of what is read, each memory once: keys and values may lie in the tensor of the queries.
fn read(args: &[Arg<'_>]) -> usize {
    let mut all = BTreeMap::<(*const Storage, usize), usize>::new();
    for arg in args {
        if let Arg::In(t) = arg {
            let (storage, layout) = t.storage_and_layout();
            let bytes = all.entry((&raw const *storage, layout.start_offset())).or_default();
            *bytes = (*bytes).max(t.elem_count() * t.dtype().size_in_bytes());
        }
    }
    all.values().sum()
}

/// Notes a product. Whether it is to be made.
pub(super) fn product(out: &Out, place: OutputView, sizes: [usize; 3], [a, b]: [Operand<'_>; 2]) -> bool {
    let [m, n, k] = sizes;
    let of = |x: Operand<'_>, elements: usize| elements * x.tensor.dtype().size_in_bytes();
    note(|| DeviceWork::Product {
        sizes,
        read: of(a, m * k) + of(b, k * n),
        written: m * n * out.dtype().size_in_bytes(),
        keep: place.keep,
    })
}
