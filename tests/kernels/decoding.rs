//! A token after the other: fewer launches, and the numbers of the ops one by one and of all tokens at once.

use candle_core::{DType, Device, Tensor};
use libtest_mimic::{Failed, Trial};
use v5gate::device::{Compute, Precision};
use v5gate::models::{self, LanguageModel};
use v5gate::ops::{Layout, Tape, Var, linear, on_cpu, to_vec_f64};
use v5gate::scale::{Scale, Tier};

/// Tokens, all within a window. More than recurrences take step by step.
const TOKENS: usize = 40;
/// Tokens that are also read op by op.
const FEW: usize = 8;
const VOCABULARY: usize = 61;

/// A model whose width is no multiple of 16 bytes in bfloat16, of weights that nothing leaves at zero.
fn model(name: &str, on: &Compute, precision: Precision) -> Result<Box<dyn LanguageModel>, Failed> {
    let scale = Scale { name: "tiny", tier: Tier::Smoke, n_layer: 3, n_head: 2, d_model: 36, d_ff: 70 };
    let spec = models::find(name).ok_or("no such model")?;
    let model = (spec.config)(&scale, VOCABULARY, TOKENS).init(1)?;
    let flat = model.params().flat();
    let noise = (0..flat.elem_count()).map(|i| 0.1 * ((i * 7919 % 10_007) as f32 * 0.7).sin());
    let noise = Tensor::from_vec(noise.collect::<Vec<_>>(), flat.dims(), &Device::Cpu)?;
    let params = model.params().replaced((flat + noise)?)?;
    Ok(model.over(params).to_device(on, precision)?)
}

fn tokens() -> Vec<u32> {
    (0..TOKENS).map(|i| (i * i * 31 + i * 7 + 3) as u32 % VOCABULARY as u32).collect()
}

/// Token by token without a record, and the same recorded, where every op has its own kernels: hidden states and
/// what is carried on are the same bits, because both round and add up alike.
fn is_the_ops_one_by_one(name: &str, precision: Precision) -> Result<(), Failed> {
    let model = model(name, v5gate::device::current(), precision)?;
    let (mut fused, mut plain) = (model.new_state(1)?, model.new_state(1)?);
    for (i, token) in tokens().into_iter().take(FEW).enumerate() {
        let got = model.backbone(&Tape::no_grad(), &[token], &mut fused)?;
        let recording = Tape::recording(model.params().entries().len());
        let expected = model.backbone(&recording, &[token], &mut plain)?;
        let bits = |v: &Var| -> candle_core::Result<Vec<u64>> {
            Ok(to_vec_f64(v.tensor())?.into_iter().map(f64::to_bits).collect())
        };
        if bits(&got)? != bits(&expected)? {
            return Err(format!("{name}: token {i}: other hidden states than op by op").into());
        }
        if !fused.same(&plain)? {
            return Err(format!("{name}: token {i}: another state than op by op").into());
        }
    }
    Ok(())
}

/// Logits of every position.
fn logits(model: &dyn LanguageModel, tokens: &[u32], at_once: usize) -> Result<Vec<f64>, Failed> {
    let (tape, mut state) = (Tape::no_grad(), model.new_state(1)?);
    let head = model.params().scope(&tape, "").get(model.head())?;
    let mut all = Vec::new();
    for part in tokens.chunks(at_once) {
        let hidden = model.backbone(&tape, part, &mut state)?;
        let logits = linear(&tape, &hidden, &head, None, Layout::OutIn)?;
        all.extend(to_vec_f64(&on_cpu(logits.tensor())?.to_dtype(DType::F32)?)?);
    }
    Ok(all)
}

/// Logits token by token are those of the whole text at once, but for roundings.
///
/// On its way through three blocks a value is stored at most 14 times in each, and most of these are behind sums of up to
/// 100 terms. Both ways round and add up on their own: √(2·42) = 9.2 roundings u where errors are independent, 2^-9
/// each in bfloat16, where sums are made in float32; and in float32, u = 6e-8, each with √100 u of its sum as well:
/// 9.2·√101·6e-8 = 5.5e-6. What a recurrence carries is one of these sums.
fn is_the_whole_text(name: &str, precision: Precision) -> Result<(), Failed> {
    let model = model(name, v5gate::device::current(), precision)?;
    let tokens = tokens();
    let (got, expected) = (logits(model.as_ref(), &tokens, 1)?, logits(model.as_ref(), &tokens, TOKENS)?);
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let off = norm(&mut got.iter().zip(&expected).map(|(a, b)| a - b)) / norm(&mut expected.iter().copied());
    let allowed = if precision == Precision::Bfloat16 { 9.2 * 2f64.powi(-9) } else { 5.5e-6 };
    eprintln!("{name:12} {precision:?}: {off:.1e}, allowed {allowed:.1e}");
    if off < allowed {
        Ok(())
    } else {
        Err(format!("{name}: off by {off:.2e}, {allowed:.2e} allowed").into())
    }
}

pub fn trials() -> Vec<Trial> {
    let mut all = Vec::new();
    for name in ["gpt2", "groundthink", "mamba2", "rwkv6"] {
        for precision in [Precision::Float32, Precision::Bfloat16] {
            let title = |what: &str| format!("decoding::{what}::{name}::{precision:?}").to_lowercase();
            let (one, whole) = (title("one_by_one"), title("whole_text"));
            all.push(Trial::test(one, move || is_the_ops_one_by_one(name, precision)));
            // The other two are the branches of the second.
            if matches!(name, "gpt2" | "groundthink") {
                all.push(Trial::test(whole, move || is_the_whole_text(name, precision)));
            }
        }
    }
    all
}
