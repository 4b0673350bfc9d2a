//! Every op against its reference: values, gradients, finite differences, threads.

use candle_core::{DType, Device, Tensor, Var as Leaf};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use v5gate::ops::{Case, OPS, OpSpec, Tape, Var, to_vec_f64};

/// The cases of every op, each op's inputs drawn from a stream of its own.
fn all_cases() -> Vec<(String, Case)> {
    let cases_of = |op: &OpSpec| {
        let seed = op.name.bytes().fold(7, |seed: u64, b| seed.wrapping_mul(31) + u64::from(b));
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut normal = |shape: &[usize]| -> Tensor {
            // A sum of twelve uniforms: near enough to normal, and free of a dependency.
            let one = |rng: &mut ChaCha8Rng| (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
            let data: Vec<f64> = (0..shape.iter().product()).map(|_| one(&mut rng)).collect();
            Tensor::from_vec(data, shape, &Device::Cpu).unwrap()
        };
        let cases = (op.cases)(&mut normal).into_iter();
        cases.map(|case| (format!("{}: {}", op.name, case.name), case)).collect::<Vec<_>>()
    };
    OPS.iter().flat_map(cases_of).collect()
}

/// Fixed weights for each output, so that one scalar stands for all of them.
fn cotangents(outputs: &[Tensor]) -> Vec<Tensor> {
    let cotangent = |(i, t): (usize, &Tensor)| {
        let data: Vec<f64> = (0..t.elem_count()).map(|j| ((i * 31 + j * 7 + 3) as f64 * 0.7).sin()).collect();
        Tensor::from_vec(data, t.shape(), &Device::Cpu).unwrap().to_dtype(t.dtype()).unwrap()
    };
    outputs.iter().enumerate().map(cotangent).collect()
}

/// Outputs and gradients of the op in `dtype`.
fn run_op(case: &Case, dtype: DType) -> (Vec<Tensor>, Vec<Option<Tensor>>) {
    let tape = Tape::recording(case.inputs.len());
    let leaf = |(i, t): (usize, &Tensor)| tape.leaf(i, &t.to_dtype(dtype).unwrap());
    let vars: Vec<Var> = case.inputs.iter().enumerate().map(leaf).collect();
    let outputs = (case.op)(&tape, &vars).unwrap();
    let tensors: Vec<_> = outputs.iter().map(|v| v.tensor().clone()).collect();
    let seeds: Vec<_> = outputs.iter().zip(cotangents(&tensors)).collect();
    let mut gradients = tape.backward_many(&seeds).unwrap();
    (tensors, (0..vars.len()).map(|i| gradients.take(i)).collect())
}

fn run_reference(case: &Case) -> (Vec<Tensor>, Vec<Option<Tensor>>) {
    let leaves: Vec<_> = case.inputs.iter().map(|t| Leaf::from_tensor(t).unwrap()).collect();
    let inputs: Vec<_> = leaves.iter().map(|l| l.as_tensor().clone()).collect();
    let outputs = (case.reference)(&inputs).unwrap();
    let total = outputs.iter().zip(cotangents(&outputs)).map(|(o, c)| (o * c).unwrap().sum_all().unwrap());
    let total = total.reduce(|a, b| (a + b).unwrap()).unwrap();
    let store = total.backward().unwrap();
    (outputs, inputs.iter().map(|t| store.get(t).cloned()).collect())
}

/// Largest difference, relative to the largest magnitude of the expected tensor.
fn distance(got: &Tensor, expected: &Tensor) -> f64 {
    let (a, b) = (to_vec_f64(got).unwrap(), to_vec_f64(expected).unwrap());
    assert_eq!(a.len(), b.len(), "{:?} against {:?}", got.dims(), expected.dims());
    let scale = b.iter().fold(1e-6, |m: f64, x| m.max(x.abs()));
    let worst = a.iter().zip(&b).map(|(x, y)| (x - y).abs());
    worst.fold(0.0, |m: f64, x| if x > m || x.is_nan() { x } else { m }) / scale
}

fn compare(dtype: DType, tolerance: f64) {
    for (name, case) in all_cases() {
        let (y, g) = run_op(&case, dtype);
        let (ry, rg) = run_reference(&case);
        for (i, (a, b)) in y.iter().zip(&ry).enumerate() {
            let d = distance(a, b);
            assert!(d <= tolerance, "{name}: output {i} differs by {d:.2e} ({dtype:?})");
        }
        for (i, (a, b)) in g.iter().zip(&rg).enumerate() {
            let a = a.as_ref().unwrap_or_else(|| panic!("{name}: no gradient for input {i}"));
            // An input that a short sequence never uses has no gradient in candle and zero here.
            let b = b.clone().unwrap_or_else(|| a.zeros_like().unwrap());
            let d = distance(a, &b);
            assert!(d <= tolerance, "{name}: gradient {i} differs by {d:.2e} ({dtype:?})");
        }
    }
}

/// In float64 both sides round at 1.1e-16 a step; the longest chain here (70 positions, states
/// that grow) loses at most four digits of sixteen.
#[test]
fn ops_equal_their_references_in_float64() {
    compare(DType::F64, 1e-11);
}

/// The same chains in float32, 6e-8 a step, lose the same four digits. What loses them is the gradient of
/// a recurrence's decay: the running sum of C·dC − B·dB, whose terms cancel where the decay is fast. How much
/// depends on the draws. Over these: 2.5e-4 for SSD's `a_log`, 1.0e-4 for its `dt_bias`, below 2e-5 everywhere else;
/// over others `a_log` was 7.0e-4 off, which this limit refuses.
#[test]
fn ops_equal_their_references_in_float32() {
    compare(DType::F32, 1e-3 * 0.5);
}

/// Central differences with step 1e-6 are exact to about 1e-9 of the function's scale.
#[test]
fn gradients_equal_finite_differences() {
    for (name, case) in all_cases() {
        let (_, gradients) = run_op(&case, DType::F64);
        for (i, gradient) in gradients.iter().enumerate() {
            let gradient = to_vec_f64(gradient.as_ref().unwrap()).unwrap();
            let scale = gradient.iter().fold(1.0, |m: f64, x| m.max(x.abs()));
            for j in (0..gradient.len()).step_by(gradient.len().div_ceil(7)) {
                let slope = (value_at(&case, i, j, 1e-6) - value_at(&case, i, j, -1e-6)) / 2e-6;
                let d = (slope - gradient[j]).abs() / scale;
                assert!(d < 1e-6, "{name}: input {i} element {j}: {} against {slope}", gradient[j]);
            }
        }
    }
}

fn value_at(case: &Case, input: usize, element: usize, step: f64) -> f64 {
    let mut inputs = case.inputs.clone();
    let mut data = to_vec_f64(&inputs[input]).unwrap();
    data[element] += step;
    inputs[input] = Tensor::from_vec(data, inputs[input].shape(), &Device::Cpu).unwrap();
    let vars: Vec<_> = inputs.into_iter().map(Var::constant).collect();
    let outputs: Vec<_> = (case.op)(&Tape::no_grad(), &vars).unwrap();
    let tensors: Vec<_> = outputs.iter().map(|v| v.tensor().clone()).collect();
    let products = tensors.iter().zip(cotangents(&tensors));
    products.map(|(t, c)| to_vec_f64(&(t * c).unwrap()).unwrap().iter().sum::<f64>()).sum()
}

#[test]
fn results_do_not_depend_on_threads() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let all = all_cases();
            let bits =
                |t: &Tensor| -> Vec<u64> { to_vec_f64(t).unwrap().iter().map(|x| x.to_bits()).collect() };
            all.iter()
                .map(|(_, case)| {
                    let (y, g) = run_op(case, DType::F32);
                    (y.iter().map(bits).collect::<Vec<_>>(), g.iter().flatten().map(bits).collect::<Vec<_>>())
                })
                .collect::<Vec<_>>()
        })
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(3));
}
