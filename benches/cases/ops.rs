//! The cases about ops: each forward and backward, over inputs taken in turns.

use anyhow::{Result, bail};
use candle_core::{DType, Device, Tensor};
use v5gate::device::{Precision, current};
use v5gate::models::{Config, GroundThinkConfig};
use v5gate::ops::{
    Gradients, Layout, SsdInputs, Tape, Var, Wkv6Inputs, causal_attention, linear, linear_cross_entropy, ssd,
    wkv6,
};
use v5gate::train::AdamW;

use super::{Size, Work, bits, config, precision, recipe};

/// So many bytes of inputs are gone through before any is used again: more than a GPU's cache holds.
const ROTATED: f64 = 256e6;

pub fn work(kind: &str, size: &Size) -> Result<Work> {
    match kind {
        "wkv6" => wkv6_pass(size),
        "ssd" => ssd_pass(size),
        "attention" => attention_pass(size),
        "cross_entropy" => cross_entropy_pass(size),
        "linear" => linear_pass(size),
        "adamw" => adamw_step(size),
        _ => bail!("no op {kind:?}"),
    }
}

/// Activations' element type.
fn dtype() -> DType {
    if precision().on(current()) == Precision::Bfloat16 { DType::BF16 } else { DType::F32 }
}

/// Pseudo-random numbers in ±scale, other ones for every seed.
fn noise(seed: u32, shape: &[usize], scale: f32, dtype: DType) -> Result<Tensor> {
    let n = shape.iter().product::<usize>() as u32;
    let unit = |i: u32| bits(i ^ (seed << 24)) as f32 / u32::MAX as f32;
    let values: Vec<f32> = (0..n).map(|i| (2.0 * unit(i) - 1.0) * scale).collect();
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)?.to_device(current().device())?)
}

/// What inputs are made of: seed, shape and scale to activations, seed and length to a parameter vector.
struct Draw(u32);

impl Draw {
    fn activations(&self, seed: u32, shape: &[usize], scale: f32) -> Result<Tensor> {
        noise(16 * self.0 + seed, shape, scale, dtype())
    }

    fn vector(&self, seed: u32, shape: &[usize]) -> Result<Tensor> {
        noise(16 * self.0 + seed, shape, 1.0, DType::F32)
    }
}

/// As many sets of inputs as do not fit a GPU's cache together; one on a CPU.
fn sets(make: impl Fn(&Draw) -> Result<Vec<Tensor>>) -> Result<Vec<Vec<Tensor>>> {
    let first = make(&Draw(0))?;
    let bytes: usize = first.iter().map(|t| t.elem_count() * t.dtype().size_in_bytes()).sum();
    let count = match current().is_asynchronous() {
        true => (ROTATED / bytes as f64).round().clamp(1.0, 8.0) as u32,
        false => 1,
    };
    let more = (1..count).map(|i| make(&Draw(i)));
    std::iter::once(Ok(first)).chain(more).collect()
}

/// The dimensions of GroundThink's branches at a size.
pub fn branches(size: &Size) -> Result<GroundThinkConfig> {
    match config("groundthink", size, size.time)? {
        Config::Groundthink(c) => Ok(c),
        other => bail!("groundthink became {}", other.name()),
    }
}

/// Runs forward and backward over what `op` builds on a tape whose leaves are a set of inputs.
fn forward_backward(
    sets: Vec<Vec<Tensor>>,
    output: &[usize],
    op: impl Fn(&Tape, &[Var]) -> Result<Var> + 'static,
) -> Result<Work> {
    let cotangent = match output {
        // A loss's own gradient stays on the CPU, as the trainer's does.
        [] => Tensor::new(1f32, &Device::Cpu)?,
        shape => noise(255, shape, 1.0, dtype())?,
    };
    let mut turn = 0;
    Ok(Box::new(move || {
        let inputs = &sets[turn % sets.len()];
        turn += 1;
        let tape = Tape::recording(inputs.len());
        let leaves: Vec<Var> = inputs.iter().enumerate().map(|(i, t)| tape.leaf(i, t)).collect();
        let y = op(&tape, &leaves)?;
        tape.backward(&y, cotangent.to_dtype(y.tensor().dtype())?)?;
        Ok(())
    }))
}

/// A recurrent state before any token.
fn no_state(shape: [usize; 4]) -> Result<Tensor> {
    Ok(Tensor::zeros(&shape, DType::F32, current().device())?)
}

fn wkv6_pass(size: &Size) -> Result<Work> {
    let c = branches(size)?;
    let (rows, d, n) = (size.batch() * size.time, c.d_model, c.rwkv.head_size);
    let inputs = sets(|draw| {
        let wide = |seed: u32| draw.activations(seed, &[rows, d], 1.0);
        Ok(vec![wide(1)?, wide(2)?, wide(3)?, wide(4)?, draw.vector(5, &[d / n, n])?])
    })?;
    let state = no_state([size.batch(), d / n, n, n])?;
    forward_backward(inputs, &[rows, d], move |tape, v| {
        let x = Wkv6Inputs { r: &v[0], k: &v[1], v: &v[2], decay: &v[3], bonus: &v[4] };
        Ok(wkv6(tape, &x, &state)?.0)
    })
}

fn ssd_pass(size: &Size) -> Result<Work> {
    let c = branches(size)?;
    let (rows, m) = (size.batch() * size.time, c.mamba);
    let (inner, maps) = (m.expand * c.d_model, m.n_groups * m.state_size);
    let heads = inner / m.head_dim;
    let inputs = sets(|draw| {
        let vector = |seed: u32| draw.vector(seed, &[heads]);
        let wide = |seed: u32, columns: usize, scale| draw.activations(seed, &[rows, columns], scale);
        let mut inputs = vec![wide(1, inner, 1.0)?, wide(2, heads, 1.0)?];
        inputs.extend([wide(3, maps, 0.3)?, wide(4, maps, 0.3)?]);
        inputs.extend([vector(5)?, vector(6)?, vector(7)?]);
        Ok(inputs)
    })?;
    let state = no_state([size.batch(), heads, m.state_size, m.head_dim])?;
    forward_backward(inputs, &[rows, inner], move |tape, v| {
        let [x, dt, b, c, a_log, dt_bias, d] = [0, 1, 2, 3, 4, 5, 6].map(|i| &v[i]);
        let dt_limit = (0.0, f64::INFINITY);
        let inputs = SsdInputs { x, dt, b, c, a_log, dt_bias, d, groups: m.n_groups, dt_limit };
        Ok(ssd(tape, &inputs, &state)?.0)
    })
}

fn attention_pass(size: &Size) -> Result<Work> {
    let (rows, d, batch, heads) = (size.batch() * size.time, size.d_model, size.batch(), size.n_head);
    let inputs = sets(|draw| Ok(vec![draw.activations(1, &[rows, 3 * d], 1.0)?]))?;
    forward_backward(inputs, &[rows, d], move |tape, v| {
        Ok(causal_attention(tape, &v[0], batch, heads, None)?.0)
    })
}

fn cross_entropy_pass(size: &Size) -> Result<Work> {
    let (rows, d, vocab) = (size.batch() * size.time, size.d_model, size.vocab);
    let inputs = sets(|draw| {
        Ok(vec![draw.activations(1, &[rows, d], 1.0)?, draw.activations(2, &[vocab, d], 0.02)?])
    })?;
    let targets: Vec<u32> = (0..rows as u32).map(|i| bits(i) % vocab as u32).collect();
    forward_backward(inputs, &[], move |tape, v| Ok(linear_cross_entropy(tape, &v[0], &v[1], &targets)?))
}

/// The products of a block of GPT-2, one behind the other.
fn linear_pass(size: &Size) -> Result<Work> {
    let (rows, d) = (size.batch() * size.time, size.d_model);
    let inputs = sets(|draw| {
        let weight = |seed: u32, shape: [usize; 2]| draw.activations(seed, &shape, 0.05);
        Ok(vec![
            draw.activations(1, &[rows, d], 1.0)?,
            weight(2, [d, d])?,
            weight(3, [d, 4 * d])?,
            weight(4, [4 * d, d])?,
            weight(5, [d, 3 * d])?,
        ])
    })?;
    forward_backward(inputs, &[rows, 3 * d], |tape, v| {
        let mut x = v[0].clone();
        for w in &v[1..] {
            x = linear(tape, &x, w, None, Layout::InOut)?;
        }
        Ok(x)
    })
}

/// Clipping and a step over GPT-2's parameters, the norm looked at.
fn adamw_step(size: &Size) -> Result<Work> {
    let model = config("gpt2", size, size.time)?.init(1)?.to_device(current(), precision())?;
    let entries = model.params().entries();
    // Too small to be clipped.
    let gradient = |(i, shape): (usize, &Vec<usize>)| noise(i as u32 % 256, shape, 1e-6, DType::F32);
    let gradients: Vec<Tensor> =
        entries.iter().map(|e| &e.shape).enumerate().map(gradient).collect::<Result<_>>()?;
    let (mut optimizer, recipe) = (AdamW::new(model.as_ref())?, recipe(size));
    Ok(Box::new(move || {
        let mut given: Gradients = gradients.iter().cloned().map(Some).collect();
        let norms = optimizer.step(&mut given, &recipe, 1e-3)?;
        anyhow::ensure!(norms.total.is_finite(), "the norm is not finite");
        Ok(())
    }))
}
