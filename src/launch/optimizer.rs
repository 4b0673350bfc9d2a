//! AdamW over all parameters at once, without a word from the host between loss and step.

use candle_core::{DType, Result, Tensor, bail};

use super::dispatch::{address, in_place};
use super::{Arg, LaunchShape, Out, THREADS, args, launch};

/// Elements of a job: enough jobs for a small model to fill a GPU, few enough for a large one to list.
const JOB: usize = 16 * 1024;
/// Numbers of a record, see `optimizer.cu`.
pub(crate) const RECORD: usize = 5;
/// Steps whose records are kept before the host must look.
pub(crate) const RECORDS: usize = 32;

/// A parameter as jobs know it.
pub(crate) struct ParameterRange {
    pub offset: usize,
    pub len: usize,
    /// Where its copy in bfloat16 begins.
    pub copy: Option<usize>,
    pub decay: bool,
    /// The group whose norm is recorded apart, 0 or 1, if it belongs to one.
    pub group: Option<usize>,
}

/// Hyper-parameters of one step.
pub(crate) struct Step {
    pub clip: f64,
    /// 1 − lr·λ.
    pub keep: f64,
    pub betas: [f64; 2],
    /// lr over the first moment's correction, and the root of the second's.
    pub lr: f64,
    pub correction: f64,
    pub eps: f64,
}

/// What stays on the device from step to step.
pub(crate) struct Jobs {
    table: Tensor,
    count: usize,
    /// Elements of every parameter.
    lens: Vec<usize>,
    records: Tensor,
}

impl Jobs {
    /// For parameters that lie where `packed` lies.
    pub fn new(parts: &[ParameterRange], packed: &Tensor) -> Result<Self> {
        let halves = |x: u64| [x as u32, (x >> 32) as u32];
        let mut table: Vec<u32> = Vec::new();
        for (number, part) in parts.iter().enumerate() {
            for first in (0..part.len).step_by(JOB) {
                table.extend(halves((part.offset + first) as u64));
                table.extend(halves(part.copy.map_or(u64::MAX, |copy| (copy + first) as u64)));
                let group = part.group.map_or(0, |group| 2 << group);
                let flags = u32::from(part.decay) | group;
                table.extend([JOB.min(part.len - first) as u32, flags, number as u32, first as u32]);
            }
        }
        let count = table.len() / 8;
        // All records begin by saying that all is well.
        let records = Tensor::ones(RECORDS * RECORD, DType::F32, packed.device())?;
        let lens = parts.iter().map(|part| part.len).collect();
        Ok(Self { table: Tensor::new(table, packed.device())?, count, lens, records })
    }

    /// Writes record `now`, and where all has gone well since record `before` makes the step.
    pub fn step(
        &self,
        (now, before): (usize, usize),
        gradients: &[Option<Tensor>],
        loss: &Tensor,
        packed: &Tensor,
        copies: Option<&Tensor>,
        s: &Step,
    ) -> Result<()> {
        // Kernels get addresses only: what lies there must be what they take it for.
        let fits = |(g, len): (&Option<Tensor>, &usize)| {
            g.as_ref().is_none_or(|g| g.dtype() == DType::F32 && g.elem_count() == *len)
        };
        if gradients.len() != self.lens.len() || !gradients.iter().zip(&self.lens).all(fits) {
            bail!("a step on a device takes a float32 gradient of its size for every parameter");
        }
        let mut addresses: Vec<u32> = Vec::with_capacity(2 * gradients.len());
        for gradient in gradients {
            let at = gradient.as_ref().map_or(Ok(0), address)?;
            addresses.extend([at as u32, (at >> 32) as u32]);
        }
        let addresses = Tensor::new(addresses, packed.device())?;
        let (jobs, few) = (self.count, 8 * THREADS / 32);
        let mut squares = Out::new(&[jobs], DType::F64, packed)?;
        let each = LaunchShape::new(jobs, THREADS).shared(few);
        launch("optimizer_squares", DType::F32, each, &mut args![&self.table, &addresses, &mut squares])?;
        let squares = squares.finish()?;
        in_place(&self.records, |records| {
            let mut args = args![&self.table, &squares, loss, records, now, before, jobs];
            launch("optimizer_norms", DType::F32, LaunchShape::new(1, THREADS).shared(few), &mut args)
        })?;
        let n = (packed.elem_count() / 3) as u64;
        let [b1, b2] = s.betas;
        let run = |copies: Arg<'_>| {
            in_place(packed, |packed| {
                let mut args = vec![(&self.table).into(), (&addresses).into(), (&self.records).into()];
                args.extend([now.into(), packed.into(), copies.again()]);
                args.extend([(n as u32 as usize).into(), ((n >> 32) as usize).into()]);
                let numbers = [s.clip, s.keep, b1, b2, 1.0 - b1, 1.0 - b2, s.lr, s.correction, s.eps];
                args.extend(numbers.map(Arg::from));
                launch("optimizer_step", DType::F32, LaunchShape::new(jobs, THREADS), &mut args)
            })
        };
        match copies {
            Some(copies) => in_place(copies, |copies| run(copies.into())),
            None => run(Arg::Null),
        }
    }

    /// Record by record: loss, three norms, and whether all went well. Waits for the device.
    pub fn records(&self) -> Result<Vec<[f64; RECORD]>> {
        let all = self.records.to_vec1::<f32>()?;
        Ok(all.chunks_exact(RECORD).map(|r| std::array::from_fn(|i| f64::from(r[i]))).collect())
    }
}
