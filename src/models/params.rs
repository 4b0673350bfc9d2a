//! Parameters: named views into one flat tensor, so that the optimizer makes one pass.
//!
//! Invariant: the order of names is the order of declaration, on every machine, so optimizer
//! state and checkpoints line up.

use std::collections::HashMap;

use candle_core::{DType, Device, Result, Shape, Tensor, bail};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use sha2::{Digest, Sha256};

use crate::device::{Compute, Precision};
use crate::files::hex;
use crate::ops::{Tape, Var, to_vec_f64};

/// How a parameter starts.
#[derive(Clone, Debug)]
pub enum Init {
    /// The same number everywhere.
    Constant(f64),
    /// Normal with mean zero and this standard deviation.
    Normal(f64),
    /// Uniform between minus and plus this.
    Uniform(f64),
    /// Orthogonal rows or columns, whichever are fewer, times this gain.
    Orthogonal(f64),
    /// These numbers.
    Values(Vec<f64>),
    /// Uniform between the first two, then through the function.
    Mapped(f64, f64, fn(f64) -> f64),
}

/// A parameter before it has values.
#[derive(Clone, Debug)]
pub struct Declared {
    /// Public name.
    pub name: String,
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Start.
    pub init: Init,
    /// Whether weight decay applies: matrices only (ruling R12).
    pub decay: bool,
}

impl Declared {
    /// A matrix: weight decay applies.
    pub fn matrix(name: impl Into<String>, shape: &[usize], init: Init) -> Self {
        Self { name: name.into(), shape: shape.to_vec(), init, decay: true }
    }

    /// A bias, norm or per-channel vector: no weight decay.
    pub fn vector(name: impl Into<String>, shape: &[usize], init: Init) -> Self {
        Self { decay: false, ..Self::matrix(name, shape, init) }
    }

    fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Where a parameter lies in the flat tensor.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Public name.
    pub name: String,
    /// Dimensions.
    pub shape: Vec<usize>,
    /// First element.
    pub offset: usize,
    /// Number of elements.
    pub len: usize,
    /// Whether weight decay applies.
    pub decay: bool,
}

/// All parameters of a model. Clones share storage.
#[derive(Clone, Debug)]
pub struct Params {
    flat: Tensor,
    /// Where models compute in bfloat16: the matrices rounded, each from its own place on.
    rounded: Option<Rounded>,
    entries: Vec<Entry>,
    index: HashMap<String, usize>,
}

/// The matrices in bfloat16. The optimizer keeps them up to date.
#[derive(Clone, Debug)]
pub(crate) struct Rounded {
    /// All of them, flat.
    pub values: Tensor,
    /// Where each parameter's copy begins; nowhere for vectors.
    pub offsets: Vec<Option<usize>>,
}

/// Elements to whose multiples matrices in bfloat16 are aligned: 256 bytes.
const ALIGNMENT: usize = 128;

impl Rounded {
    fn of(flat: &Tensor, entries: &[Entry]) -> Result<Self> {
        let (mut parts, mut offsets, mut end) = (Vec::new(), Vec::new(), 0usize);
        for e in entries {
            if !e.decay {
                offsets.push(None);
                continue;
            }
            offsets.push(Some(end));
            parts.push(flat.narrow(0, e.offset, e.len)?.to_dtype(DType::BF16)?);
            let gap = e.len.next_multiple_of(ALIGNMENT) - e.len;
            if gap > 0 {
                parts.push(Tensor::zeros(gap, DType::BF16, flat.device())?);
            }
            end += e.len + gap;
        }
        let values = match parts.is_empty() {
            true => Tensor::zeros(0, DType::BF16, flat.device())?,
            false => Tensor::cat(&parts, 0)?,
        };
        Ok(Self { values, offsets })
    }
}

impl Params {
    /// Fresh float32 parameters, determined by `seed` (ChaCha20, in order of declaration).
    pub fn init(declared: &[Declared], seed: u64) -> Result<Self> {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut flat: Vec<f32> = Vec::with_capacity(declared.iter().map(Declared::len).sum());
        for d in declared {
            flat.extend(draw(&d.init, &d.shape, &mut rng).iter().map(|x| *x as f32));
        }
        let n = flat.len();
        Self::over(declared, Tensor::from_vec(flat, n, &Device::Cpu)?)
    }

    /// Parameters over a flat tensor, in order of declaration.
    ///
    /// # Shapes
    /// - `flat`: as many elements as all of `declared` together, P
    pub fn over(declared: &[Declared], flat: Tensor) -> Result<Self> {
        let mut offset = 0;
        let mut entries = Vec::with_capacity(declared.len());
        for d in declared {
            let len = d.len();
            let (name, shape) = (d.name.clone(), d.shape.clone());
            entries.push(Entry { name, shape, offset, len, decay: d.decay });
            offset += len;
        }
        if flat.elem_count() != offset {
            bail!("{} values for {offset} parameters", flat.elem_count());
        }
        let index = entries.iter().enumerate().map(|(i, e)| (e.name.clone(), i)).collect();
        Ok(Self { flat, rounded: None, entries, index })
    }

    /// The same parameters on a device, for computing in this precision there.
    pub fn to_device(&self, on: &Compute, precision: Precision) -> Result<Self> {
        let flat = self.flat.to_device(on.device())?;
        let rounded = match precision.on(on) {
            Precision::Bfloat16 => Some(Rounded::of(&flat, &self.entries)?),
            _ => None,
        };
        Ok(Self { flat, rounded, ..self.clone() })
    }

    /// Parameters from named tensors; every declared name must be there.
    ///
    /// # Shapes
    /// - `get`: for a declared name a tensor of its declared shape
    pub fn from_tensors(
        declared: &[Declared],
        dtype: DType,
        mut get: impl FnMut(&str) -> Option<Tensor>,
    ) -> Result<Self> {
        let mut parts = Vec::with_capacity(declared.len());
        for d in declared {
            let Some(t) = get(&d.name) else { bail!("tensor {:?} is missing", d.name) };
            if t.dims() != d.shape {
                bail!("tensor {:?} has shape {:?}, expected {:?}", d.name, t.dims(), d.shape);
            }
            parts.push(t.to_dtype(dtype)?.flatten_all()?);
        }
        Self::over(declared, Tensor::cat(&parts, 0)?)
    }

    /// All values.
    ///
    /// # Shapes
    /// - result: `[P]`, P being the number of parameters
    pub fn flat(&self) -> &Tensor {
        &self.flat
    }

    /// Where each parameter lies, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The parameter of that name: a view.
    ///
    /// # Shapes
    /// - result: the declared one
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        match self.index.get(name) {
            Some(&i) => self.view(i),
            None => bail!("no parameter {name:?}"),
        }
    }

    /// The parameter at that place in the order as models compute with it: a view.
    ///
    /// # Shapes
    /// - result: the declared one
    pub fn view(&self, i: usize) -> Result<Tensor> {
        let e = &self.entries[i];
        if let Some((rounded, start)) = self.rounded.as_ref().and_then(|r| Some((r, r.offsets[i]?))) {
            return rounded.values.narrow(0, start, e.len)?.reshape(e.shape.as_slice());
        }
        self.exact(i)
    }

    /// The parameter at that place in the order as it is trained and saved: a view.
    ///
    /// # Shapes
    /// - result: the declared one
    pub fn exact(&self, i: usize) -> Result<Tensor> {
        let e = &self.entries[i];
        self.flat.narrow(0, e.offset, e.len)?.reshape(e.shape.as_slice())
    }

    /// For computing in the same precision as `other`, on the same device.
    pub(crate) fn like(self, other: &Self) -> Result<Self> {
        let flat = self.flat.to_device(other.flat.device())?;
        let rounded = other.rounded.as_ref().map(|_| Rounded::of(&flat, &self.entries)).transpose()?;
        Ok(Self { flat, rounded, ..self })
    }

    /// The parameter of that name as it is trained and saved: a view.
    pub(crate) fn exact_of(&self, name: &str) -> Result<Tensor> {
        match self.index.get(name) {
            Some(&i) => self.exact(i),
            None => bail!("no parameter {name:?}"),
        }
    }

    /// The matrices in bfloat16, where models compute in it.
    pub(crate) fn rounded(&self) -> Option<&Rounded> {
        self.rounded.as_ref()
    }

    /// Zeros in place of inputs that there were not, as activations are.
    pub(crate) fn no_inputs(&self, shape: impl Into<Shape>) -> Result<Tensor> {
        Tensor::zeros(shape, self.dtype(), self.flat.device())
    }

    /// Zeros as the start of a recurrent state, which is as exact as the parameters.
    pub(crate) fn no_state(&self, shape: impl Into<Shape>) -> Result<Tensor> {
        Tensor::zeros(shape, self.flat.dtype(), self.flat.device())
    }

    /// The element type of activations.
    pub fn dtype(&self) -> DType {
        if self.rounded.is_some() { DType::BF16 } else { self.flat.dtype() }
    }

    /// Other values under the same names.
    ///
    /// # Shapes
    /// - `flat`: `[P]`, P being the number of parameters
    pub fn replaced(&self, flat: Tensor) -> Result<Self> {
        if flat.elem_count() != self.flat.elem_count() {
            bail!("{} values for {} parameters", flat.elem_count(), self.flat.elem_count());
        }
        let rounded = self.rounded.as_ref().map(|_| Rounded::of(&flat, &self.entries)).transpose()?;
        Ok(Self { flat, rounded, ..self.clone() })
    }

    /// A copy that shares nothing.
    pub fn deep_clone(&self) -> Result<Self> {
        self.replaced(self.flat.copy()?)
    }

    /// Digest of names, shapes and values: which weights these are.
    pub fn digest(&self) -> Result<String> {
        let mut hash = Sha256::new();
        for e in &self.entries {
            hash.update(format!("{} {:?}\n", e.name, e.shape));
        }
        for x in to_vec_f64(&self.flat)? {
            hash.update(x.to_le_bytes());
        }
        Ok(hex(hash))
    }

    /// Names under `prefix`, as values on `tape`.
    pub fn scope<'a>(&'a self, tape: &'a Tape, prefix: impl Into<String>) -> Scope<'a> {
        Scope { params: self, tape, prefix: prefix.into() }
    }
}

/// A part of a model's parameters, on a tape.
pub struct Scope<'a> {
    params: &'a Params,
    /// The tape that the values are on.
    pub tape: &'a Tape,
    prefix: String,
}

impl Scope<'_> {
    /// The parameter `prefix` + `name`, if the model has it.
    ///
    /// # Shapes
    /// - result: the declared one
    pub fn find(&self, name: &str) -> Result<Option<Var>> {
        let full = format!("{}{name}", self.prefix);
        let leaf = |&i: &usize| Ok(self.tape.leaf(i, &self.params.view(i)?));
        self.params.index.get(&full).map(leaf).transpose()
    }

    /// The parameter `prefix` + `name`.
    ///
    /// # Shapes
    /// - result: the declared one
    pub fn get(&self, name: &str) -> Result<Var> {
        match self.find(name)? {
            Some(parameter) => Ok(parameter),
            None => bail!("no parameter \"{}{name}\"", self.prefix),
        }
    }
}

/// A standard normal number (Box and Muller).
fn normal(rng: &mut ChaCha20Rng) -> f64 {
    let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

fn draw(init: &Init, shape: &[usize], rng: &mut ChaCha20Rng) -> Vec<f64> {
    let n: usize = shape.iter().product();
    let mut uniform = |low: f64, high: f64| low + (high - low) * rng.random::<f64>();
    match init {
        Init::Constant(x) => vec![*x; n],
        Init::Uniform(a) => (0..n).map(|_| uniform(-a, *a)).collect(),
        Init::Mapped(low, high, f) => (0..n).map(|_| f(uniform(*low, *high))).collect(),
        Init::Normal(std) => (0..n).map(|_| std * normal(rng)).collect(),
        Init::Orthogonal(gain) => orthogonal(shape[0], n / shape[0], *gain, rng),
        Init::Values(v) => v.clone(),
    }
}

/// An [rows, cols] matrix whose shorter side is orthonormal (Saxe et al. 2013), by Gram–Schmidt
/// run twice, which keeps float64 accuracy.
fn orthogonal(rows: usize, cols: usize, gain: f64, rng: &mut ChaCha20Rng) -> Vec<f64> {
    let (few, long) = (rows.min(cols), rows.max(cols));
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(few);
    for _ in 0..few {
        let mut v: Vec<f64> = (0..long).map(|_| normal(rng)).collect();
        for _ in 0..2 {
            for b in &basis {
                let along: f64 = v.iter().zip(b).map(|(x, y)| x * y).sum();
                v.iter_mut().zip(b).for_each(|(x, y)| *x -= along * y);
            }
        }
        let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        v.iter_mut().for_each(|x| *x /= norm);
        basis.push(v);
    }
    let at = |r: usize, c: usize| {
        if rows <= cols { basis[r][c] } else { basis[c][r] }
    };
    (0..rows * cols).map(|i| gain * at(i / cols, i % cols)).collect()
}
