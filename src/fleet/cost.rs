//! What a protocol costs before it is paid: work, tokens, bytes, hours.

use std::time::{Duration, Instant};

use candle_core::{DType, Device, Result, Tensor};
use serde::Serialize;

use crate::collect::Trial;
use crate::protocol::Protocol;

/// GPT-2's vocabulary: what a tokenizer from a file is taken to have before it is read.
const VOCABULARY: usize = 50_257;

/// What one training costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    /// Tokens trained on.
    pub tokens: u64,
    /// Floating-point operations: three forward passes' worth a token, the backward pass counting twice.
    pub flops: f64,
    /// Bytes of what stays in the run's folder.
    pub bytes: u64,
    /// Bytes of a checkpoint on the way, which is there beside it while training goes on.
    pub checkpoint_bytes: u64,
}

impl Cost {
    /// Of a trial of a protocol.
    pub fn of(protocol: &Protocol, trial: &Trial) -> Self {
        let recipe = &protocol.recipe;
        let config = (trial.spec.config)(trial.scale, vocabulary(protocol), recipe.context_length);
        let stats = config.model_stats();
        let tokens = recipe.steps() * recipe.tokens_per_step();
        let weights = 4 * stats.total as u64;
        Self {
            tokens,
            flops: 3.0 * stats.forward_flops_per_token * tokens as f64,
            // The last weights, those before the last tenth, and eight states with both moments for the audit.
            bytes: 26 * weights,
            // Weights, and once more with both moments.
            checkpoint_bytes: 4 * weights,
        }
    }

    /// Both.
    pub fn plus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens + other.tokens,
            flops: self.flops + other.flops,
            bytes: self.bytes + other.bytes,
            checkpoint_bytes: self.checkpoint_bytes.max(other.checkpoint_bytes),
        }
    }
}

fn vocabulary(protocol: &Protocol) -> usize {
    protocol.data.vocab_size().unwrap_or(VOCABULARY)
}

/// How fast trainings go, and how that is known.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rate {
    /// Floating-point operations a second.
    pub flops_per_second: f64,
    /// Where the number comes from, in words.
    pub source: String,
}

impl Rate {
    /// A given rate in TFLOP/s.
    pub fn given(teraflops: f64) -> Self {
        Self { flops_per_second: teraflops * 1e12, source: "as given".to_owned() }
    }

    /// Measured in a fifth of a second: products of matrices in float32 on this machine's processor, of which a
    /// training of this program reaches about half.
    ///
    /// # Errors
    /// Where there is no memory for three matrices of 4 MiB.
    pub fn of_this_machine() -> Result<Self> {
        const SIZE: usize = 1024;
        /// What a training step does beside products takes a quarter to a half of its time.
        const SHARE: f64 = 0.5;
        const LONG: Duration = Duration::from_millis(200);
        let a = Tensor::ones((SIZE, SIZE), DType::F32, &Device::Cpu)?;
        a.matmul(&a)?;
        let (start, mut products) = (Instant::now(), 0.0);
        while start.elapsed() < LONG {
            a.matmul(&a)?;
            products += 1.0;
        }
        let reached = products * 2.0 * (SIZE as f64).powi(3) / start.elapsed().as_secs_f64();
        let source =
            format!("half of the {:.0} GFLOP/s that products reach on this processor", reached / 1e9);
        Ok(Self { flops_per_second: SHARE * reached, source })
    }

    /// Hours for so much work.
    pub fn hours(&self, flops: f64) -> f64 {
        flops / self.flops_per_second / 3600.0
    }
}
