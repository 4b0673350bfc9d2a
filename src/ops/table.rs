//! The table of ops.

use super::case::OpSpec;
use super::{
    attention, convolution, cross_entropy, elementwise, embedding, fusion, linear, norm, row, row_mix,
    row_output, ssd, ssd_convolved, token_mix, wkv6, wkv6_head,
};

/// Every op with the case that the conformance tests put it through.
pub const OPS: &[OpSpec] = &[
    OpSpec { name: "linear", cases: linear::cases },
    OpSpec { name: "linear_cross_entropy", cases: cross_entropy::cases },
    OpSpec { name: "embedding", cases: embedding::cases },
    OpSpec { name: "causal_attention", cases: attention::cases },
    OpSpec { name: "norm", cases: norm::cases },
    OpSpec { name: "elementwise", cases: elementwise::cases },
    OpSpec { name: "token_mix", cases: token_mix::cases },
    OpSpec { name: "wkv6", cases: wkv6::cases },
    OpSpec { name: "convolution", cases: convolution::cases },
    OpSpec { name: "ssd", cases: ssd::cases },
    OpSpec { name: "fusion", cases: fusion::cases },
    OpSpec { name: "row", cases: row::cases },
    OpSpec { name: "row_mix", cases: row_mix::cases },
    OpSpec { name: "row_output", cases: row_output::cases },
    OpSpec { name: "wkv6_head", cases: wkv6_head::cases },
    OpSpec { name: "ssd_convolved", cases: ssd_convolved::cases },
];
