//! What a layer asks of a device: the sequence of launches of a decoded token, and how many a training step has.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use libtest_mimic::{Failed, Trial};
use v5gate::launch::{DeviceWork, asked_for, planned, with_block_memory};
use v5gate::models::{self, LanguageModel};
use v5gate::ops::{Tape, linear_cross_entropy};
use v5gate::scale::{Scale, Tier};

use crate::compare::{self, BlockMemory};

/// Positions fed before the token that is looked at, or the length of a step's sequences.
const PREFILL: usize = 40;

/// What a token asks for in one layer: how often each kernel, and products.
const TOKEN: [(&str, &[(&str, usize)]); 2] = [
    (
        "gpt2",
        &[("attention_append", 1), ("attention_decode", 1), ("row_in_out", 2), ("row_normed_in_out", 2)],
    ),
    (
        "groundthink",
        &[
            ("mix_row", 1),
            ("row_fused", 1),
            ("row_gated", 1),
            ("row_mixed", 1),
            ("row_normed_out_in", 1),
            ("row_out_in", 1),
            ("row_shifted", 1),
            ("ssd_convolved", 1),
            ("wkv6_head", 1),
        ],
    ),
];
/// Launches that a layer's mathematics needs for one token: one wherever a value needs a sum over the whole width
/// (docs/kernels.md).
const NEEDED: [(&str, usize); 2] = [("gpt2", 5), ("groundthink", 7)];
/// As many more are allowed, also behind a text whose keys attention takes in several parts.
const MORE: usize = 2;
const LONG: usize = 300;

/// What a micro-batch asks for in one layer, forward and backward: kernels and products.
const STEP: [(&str, usize, usize); 1] = [("gpt2", 24, 12)];

fn model(name: &str, n_layer: usize, positions: usize) -> Result<Box<dyn LanguageModel>, Failed> {
    let scale = Scale { name: "tiny", tier: Tier::Smoke, n_layer, n_head: 2, d_model: 64, d_ff: 256 };
    let spec = models::find(name).ok_or("no such model")?;
    Ok((spec.config)(&scale, 64, positions).init(1)?)
}

/// Kernel, or `product`, to how often it was asked for.
fn counted(asked: &[DeviceWork]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for asked in asked {
        let name = match asked {
            DeviceWork::Kernel { name, .. } => {
                name.trim_end_matches("_f32").trim_end_matches("_32").to_owned()
            }
            DeviceWork::Product { .. } => "product".to_owned(),
        };
        *counts.entry(name).or_default() += 1;
    }
    counts
}

fn token(model: &dyn LanguageModel, prefill: usize) -> Result<Vec<DeviceWork>, Failed> {
    let (tape, mut state) = (Tape::no_grad(), model.new_state(1)?);
    planned(|| model.backbone(&tape, &vec![1; prefill], &mut state)).0?;
    let (hidden, asked) = planned(|| model.backbone(&tape, &[1], &mut state));
    hidden?;
    Ok(asked)
}

fn step(model: &dyn LanguageModel) -> Result<Vec<DeviceWork>, Failed> {
    let tokens = [1; PREFILL];
    let (result, asked) = planned(|| -> candle_core::Result<()> {
        let tape = Tape::recording(model.params().entries().len());
        let hidden = model.backbone(&tape, &tokens, &mut model.new_state(1)?)?;
        let head = model.params().scope(&tape, "").get(model.head())?;
        let loss = linear_cross_entropy(&tape, &hidden, &head, &tokens)?;
        tape.backward(&loss, Tensor::new(0.5f32, &Device::Cpu)?)?;
        Ok(())
    });
    result?;
    Ok(asked)
}

/// What a layer adds: from models that differ in nothing else.
fn of_a_layer(
    name: &str,
    positions: usize,
    asked: impl Fn(&dyn LanguageModel) -> Result<Vec<DeviceWork>, Failed>,
) -> Result<BTreeMap<String, usize>, Failed> {
    let layers = |model: &dyn LanguageModel| {
        let begins = |name: &str| name.ends_with(".ln_1.weight") || name.ends_with(".ln_mix.weight");
        model.params().entries().iter().filter(|entry| begins(&entry.name)).count()
    };
    let (few, many) = (model(name, 4, positions)?, model(name, 8, positions)?);
    let more = layers(many.as_ref()) - layers(few.as_ref());
    let (few, mut many) = (counted(&asked(few.as_ref())?), counted(&asked(many.as_ref())?));
    for (kernel, count) in &mut many {
        *count -= few.get(kernel).copied().unwrap_or(0);
        if *count % more != 0 {
            return Err(format!("{name}: {more} layers have {count} launches of {kernel}").into());
        }
        *count /= more;
    }
    many.retain(|_, count| *count > 0);
    Ok(many)
}

fn of_a_token() -> Result<(), Failed> {
    for (name, expected) in TOKEN {
        let got = of_a_layer(name, PREFILL + 1, |model| token(model, PREFILL))?;
        let expected: BTreeMap<String, usize> = expected.iter().map(|(k, n)| ((*k).to_owned(), *n)).collect();
        if got != expected {
            return Err(format!("a layer of {name}, one token: expected {expected:?}, got {got:?}").into());
        }
    }
    Ok(())
}

fn hardly_more_than_needed() -> Result<(), Failed> {
    for (name, needed) in NEEDED {
        for prefill in [1, PREFILL, LONG] {
            let got = of_a_layer(name, LONG + 1, |model| token(model, prefill))?;
            let all = got.values().sum::<usize>();
            if all > needed + MORE {
                return Err(format!(
                    "a layer of {name}, one token behind {prefill}: {all} launches, at most {needed} and {MORE}: {got:?}"
                )
                .into());
            }
        }
    }
    Ok(())
}

/// Bytes of shared memory that a block can have, by NVIDIA's table of compute capabilities: 8.0 (A100), 8.9 and 12.0
/// (those for workstations).
const A100: usize = 163 * 1024;
const WORKSTATION: usize = 99 * 1024;

/// Ops that have smaller tiles for the latter, and a kernel that only those launch.
pub const SMALLER: [(&str, &str); 2] =
    [("wkv6", "wkv6_gradient_short_64_bf16"), ("ssd", "ssd_gradients_128_32_bf16")];

/// An op in bfloat16 against its reference, with what a workstation's card has.
pub fn on_a_workstation(op: &'static str, kernel: &str) -> Result<(), Failed> {
    let check = || compare::check(op, DType::BF16, &Device::Cpu, BlockMemory::Little);
    let (checked, asked) = with_block_memory(WORKSTATION, || asked_for(check));
    let is_it = |work: &DeviceWork| matches!(work, DeviceWork::Kernel { name, .. } if name == kernel);
    match asked.iter().any(is_it) {
        true => checked,
        false => Err(format!("{op}: {kernel} was not launched").into()),
    }
}

/// Which cards can train the gated sizes, as docs/gpu.md says: what a step asks for at most.
fn cards_that_can() -> Result<(), Failed> {
    use v5gate::train::Precision::{Bfloat16, Float32};
    // One layer asks for what all of them ask for.
    let scale = Scale { n_layer: 1, ..*v5gate::scale::find("8M").ok_or("no such scale")? };
    let expected = [
        ("gpt2", Bfloat16, WORKSTATION),
        ("gpt2", Float32, A100),
        ("groundthink", Bfloat16, WORKSTATION),
        ("groundthink", Float32, usize::MAX),
    ];
    for (name, precision, most) in expected {
        let spec = models::find(name).ok_or("no such model")?;
        let model = (spec.config)(&scale, 64, PREFILL).init(1)?;
        let model = model.to_device(v5gate::device::current(), precision)?;
        let shared =
            |work: &DeviceWork| if let DeviceWork::Kernel { shared, .. } = work { *shared } else { 0 };
        let mut least = usize::MAX;
        for card in [A100, WORKSTATION] {
            let asked = with_block_memory(card, || step(model.as_ref()))?.iter().map(shared).max();
            let asked = asked.unwrap_or(0);
            eprintln!("{name:12} {precision:?}: {asked} bytes of shared memory where there are {card}");
            least = if asked <= card { card } else { least };
        }
        if least != most {
            return Err(format!("{name} in {precision:?}: {least} bytes, expected {most}").into());
        }
    }
    Ok(())
}

fn of_a_step() -> Result<(), Failed> {
    for (name, kernels, products) in STEP {
        let got = of_a_layer(name, PREFILL + 1, step)?;
        let of_products = got.get("product").copied().unwrap_or(0);
        let of_kernels = got.values().sum::<usize>() - of_products;
        if (of_kernels, of_products) != (kernels, products) {
            let found = format!("{of_kernels} kernels and {of_products} products: {got:?}");
            return Err(format!(
                "a layer of {name}, a micro-batch: expected {kernels} and {products}, got {found}"
            )
            .into());
        }
    }
    Ok(())
}

pub fn trials() -> Vec<Trial> {
    let mut all = vec![
        Trial::test("launches::of_a_token", of_a_token),
        Trial::test("launches::hardly_more_than_needed", hardly_more_than_needed),
        Trial::test("launches::of_a_step", of_a_step),
        Trial::test("launches::cards_that_can", cards_that_can),
    ];
    let smaller = |(op, kernel)| {
        Trial::test(format!("launches::on_a_workstation::{op}"), move || on_a_workstation(op, kernel))
    };
    all.extend(SMALLER.map(smaller));
    all
}
