//! Every path against sums in float64.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

/// Every path: tiles by a stand-in, where the processor has none.
fn paths() -> Vec<Path> {
    let mut all = Path::all();
    if !all.contains(&Path::Amx) && tiles_without_amx::stand_in() {
        all.insert(0, Path::Amx);
    }
    all
}

fn noise(n: usize, seed: u64) -> Vec<bf16> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..n).map(|_| bf16::from_f32(rng.random::<f32>() * 2.0 - 1.0)).collect()
}

/// A matrix inside a larger one, stored one way or the other.
fn matrix(data: &[bf16], rows: usize, cols: usize, across: bool) -> Mat<'_, bf16> {
    match across {
        true => Mat::strided(data, rows, cols, cols + 3),
        false => Mat::strided(data, cols, rows, rows + 3).t(),
    }
}

fn product(path: Path, a: Mat<'_, bf16>, b: Mat<'_, bf16>, threads: Threads) -> Vec<f32> {
    let (rows, columns) = (Rows::on(path, a, threads), Columns::on(path, b, threads));
    let mut out = vec![f32::NAN; a.rows * b.cols];
    matmul_wide((&rows, &columns), a.cols, &mut out, b.cols, false, 1.0, threads);
    out
}

/// Sums of n terms, and the same of their sizes.
fn exact(a: Mat<'_, bf16>, b: Mat<'_, bf16>) -> Vec<(f64, f64)> {
    let at = |m: Mat<'_, bf16>, i: usize, j: usize| m.data[i * m.row_stride + j * m.col_stride].to_f64();
    let sum = |(i, j)| {
        (0..a.cols).fold((0.0, 0.0), |(sum, size), k| {
            let term: f64 = at(a, i, k) * at(b, k, j);
            (sum + term, size + term.abs())
        })
    };
    (0..a.rows).flat_map(|i| (0..b.cols).map(move |j| (i, j))).map(sum).collect()
}

const SHAPES: [[usize; 3]; 9] = [
    [1, 1, 1],
    [2, 33, 7],
    [12, 32, 64],
    [13, 31, 63],
    [100, 70, 257],
    [33, 300, 32],
    [5, 64, 1025],
    [97, 257, 2050],
    [3, 2, 0],
];

/// A float32 sum of n terms in any order is off by at most n·2⁻²⁴ of the sum of their sizes, to first order.
#[test]
fn products_are_sums_of_products_on_every_path() {
    for path in paths() {
        for [m, n, k] in SHAPES {
            let (a, b) = (noise((m + 3) * (k + 3), 1), noise((n + 3) * (k + 3), 2));
            for (left, right) in [(true, true), (true, false), (false, true), (false, false)] {
                let (a, b) = (matrix(&a, m, k, left), matrix(&b, k, n, right));
                let got = product(path, a, b, Threads::All);
                assert_eq!(got, product(path, a, b, Threads::This), "{path:?} {m} {n} {k}: threads");
                for (x, (sum, size)) in got.iter().zip(exact(a, b)) {
                    let allowed = (k as f64 + 1.0) * 2f64.powi(-24) * size;
                    assert!(
                        (f64::from(*x) - sum).abs() <= allowed,
                        "{path:?} {m} {n} {k}: {x}, expected {sum}"
                    );
                }
            }
        }
    }
}

/// Vectors of AVX-512 and the portable path add up in the same order and round alike.
#[test]
fn the_portable_path_has_the_bits_of_avx512() {
    if !Path::all().contains(&Path::Avx512) {
        return;
    }
    for [m, n, k] in SHAPES {
        let (a, b) = (noise((m + 3) * (k + 3), 3), noise((n + 3) * (k + 3), 4));
        let (a, b) = (matrix(&a, m, k, true), matrix(&b, k, n, true));
        let [one, other] = [Path::Avx512, Path::Portable].map(|path| product(path, a, b, Threads::All));
        assert_eq!(one, other, "{m} {n} {k}");
    }
}

/// What is no number stays none, where it stands in either operand and nowhere else.
#[test]
fn what_is_no_number_spreads_to_its_row_and_column_alone() {
    for path in paths() {
        let (m, n, k) = (15, 40, 35);
        for whole in [bf16::NAN, bf16::INFINITY] {
            let (mut a, mut b) = (noise(m * k, 5), noise(k * n, 6));
            (a[7 * k + 34], b[3 * n + 39]) = (whole, whole);
            let got = product(path, Mat::new(&a, m, k), Mat::new(&b, k, n), Threads::All);
            for (i, x) in got.iter().enumerate() {
                assert_eq!(x.is_finite(), i / n != 7 && i % n != 39, "{path:?} at {i}: {x}");
            }
        }
    }
}

#[test]
fn sums_are_kept_scaled_and_placed() {
    let (a, b) = (noise(20 * 10, 7), noise(10 * 40, 8));
    let (a, b) = (Mat::new(&a, 20, 10), Mat::new(&b, 10, 40));
    let (rows, columns) = (Rows::of(a, Threads::All), Columns::of(b, Threads::All));
    let mut out = vec![1.0; 20 * 50];
    matmul_wide((&rows, &columns), 10, &mut out, 50, true, 0.5, Threads::All);
    let bias: Vec<f32> = (0..40).map(|j| j as f32).collect();
    let residual = noise(20 * 40, 9);
    let brief = matmul_brief(a, b, &Added { bias: Some(&bias), residual: Some(&residual) });
    for (i, (sum, _)) in exact(a, b).into_iter().enumerate() {
        let (wide, more) = (out[i / 40 * 50 + i % 40], f64::from(bias[i % 40]) + residual[i].to_f64());
        assert!((f64::from(wide) - (1.0 + 0.5 * sum)).abs() < 1e-5, "{i}: {wide}");
        // Rounded once, to one part in 256, and float32 sums before.
        assert!((brief[i].to_f64() - sum - more).abs() <= (sum + more).abs() / 256.0 + 1e-5, "{i}");
    }
    assert!(out.iter().enumerate().all(|(i, x)| i % 50 < 40 || *x == 1.0));
}

/// Whole panels are added up where they end: the same sums, from what was there on, and nothing beside them.
#[test]
fn sums_in_place_go_on_from_what_was_there() {
    let (m, n, k, stride) = (205, 320, 1100, 333);
    let (a, b) = (noise(m * k, 14), noise(k * n, 15));
    let (a, b) = (Mat::new(&a, m, k), Mat::new(&b, k, n));
    for path in paths() {
        let (rows, columns) = (Rows::on(path, a, Threads::All), Columns::on(path, b, Threads::All));
        let made = |keep, threads| {
            let mut out = vec![if keep { 3.0 } else { f32::NAN }; m * stride - 5];
            matmul_wide((&rows, &columns), k, &mut out, stride, keep, 1.0, threads);
            out
        };
        let (kept, fresh) = (made(true, Threads::All), made(false, Threads::This));
        assert_eq!(kept, made(true, Threads::This), "{path:?}: threads");
        for (i, (sum, size)) in exact(a, b).into_iter().enumerate() {
            let at = i / n * stride + i % n;
            let allowed = (k as f64 + 2.0) * 2f64.powi(-24) * (size + 3.0);
            assert!((f64::from(fresh[at]) - sum).abs() <= allowed, "{path:?} {i}: {}", fresh[at]);
            assert!((f64::from(kept[at]) - sum - 3.0).abs() <= allowed, "{path:?} {i}: {}", kept[at]);
        }
        let beside =
            |all: &[f32]| (0..all.len()).filter(|i| i % stride >= n).map(|i| all[i]).collect::<Vec<_>>();
        assert!(beside(&kept).iter().all(|x| *x == 3.0) && beside(&fresh).iter().all(|x| x.is_nan()));
    }
}

/// Few rows read the other operand where it lies, if they can.
#[test]
fn few_rows_have_the_bits_of_many() {
    for (m, n, k) in [(2, 33, 5), (7, 200, 64), (8, 3000, 1100), (32, 40, 33)] {
        let (a, b) = (noise(m * k, 11), noise(n * k, 12));
        let (a, lying) = (Mat::new(&a, m, k), Mat::new(&b, n, k).t());
        let across: Vec<bf16> = (0..k * n).map(|i| b[i % n * k + i / n]).collect();
        let (bias, residual): (Vec<f32>, _) = ((0..n).map(|j| j as f32).collect(), noise(m * n, 13));
        for added in
            [Added { bias: None, residual: None }, Added { bias: Some(&bias), residual: Some(&residual) }]
        {
            let few = matmul_brief(a, lying, &added);
            assert!(few == matmul_brief(a, Mat::new(&across, k, n), &added), "{m} × {k} × {n}");
        }
    }
}
