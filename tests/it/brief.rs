//! bfloat16 on a processor (ruling R28): the cases and the tolerances that the kernels have, without kernels.

use candle_core::{DType, Device};
use v5gate::ops::OPS;

#[expect(dead_code, reason = "the trials of the kernels' own binary")]
#[path = "../kernels/compare.rs"]
mod compare;

#[test]
fn every_op_in_bfloat16_is_the_op_up_to_its_roundings() {
    for op in OPS.iter().map(|spec| spec.name).chain(["likeliest", "loss_in_parts"]) {
        let checked = compare::check(op, DType::BF16, &Device::Cpu, compare::BlockMemory::Enough);
        checked.unwrap_or_else(|e| panic!("{op}: {e:?}"));
    }
}
