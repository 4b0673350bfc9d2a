//! Three linear equations and the inverse of a normal matrix, by Cholesky's decomposition.

/// The s with matrix·s = right, by Cholesky; `None` unless the matrix is positive definite.
pub(super) fn solve(matrix: [[f64; 3]; 3], right: [f64; 3]) -> Option<[f64; 3]> {
    let (mut lower, mut s) = ([[0.0; 3]; 3], right);
    for i in 0..3 {
        for j in 0..=i {
            let known: f64 = (0..j).map(|k| lower[i][k] * lower[j][k]).sum();
            let left = matrix[i][j] - known;
            lower[i][j] = if i == j { left.sqrt() } else { left / lower[j][j] };
        }
        // Not positive, or lost in rounding.
        let pivot = lower[i][i] * lower[i][i];
        if pivot.is_nan() || pivot <= 1e-15 * matrix[i][i] {
            return None;
        }
        let known: f64 = (0..i).map(|k| lower[i][k] * s[k]).sum();
        s[i] = (s[i] - known) / lower[i][i];
    }
    for i in (0..3).rev() {
        let known: f64 = (i + 1..3).map(|k| lower[k][i] * s[k]).sum();
        s[i] = (s[i] - known) / lower[i][i];
    }
    s.iter().all(|s| s.is_finite()).then_some(s)
}

/// (JᵀJ)⁻¹ of these rows of J by Gram and Schmidt, which never forms the product and so loses half
/// as many digits; `None` if the columns depend on each other.
pub(super) fn inverse_of_square(rows: &[[f64; 3]]) -> Option<[[f64; 3]; 3]> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mut units: Vec<Vec<f64>> = Vec::new();
    // The columns of R⁻¹, where J = units·R: what of each column of J makes up a unit.
    let mut parts: Vec<[f64; 3]> = Vec::new();
    for i in 0..3 {
        let mut column: Vec<f64> = rows.iter().map(|row| row[i]).collect();
        let mut upper = [0.0; 3];
        // Twice: once leaves what rounding puts back.
        for _ in 0..2 {
            for (unit, upper) in units.iter().zip(&mut upper) {
                let along = dot(unit, &column);
                *upper += along;
                column.iter_mut().zip(unit).for_each(|(c, u)| *c -= along * u);
            }
        }
        let length = dot(&column, &column).sqrt();
        units.push(column.iter().map(|c| c / length).collect());
        let mut part = [0.0; 3];
        part[i] = 1.0;
        for (before, along) in parts.iter().zip(upper) {
            part = [0, 1, 2].map(|k| part[k] - along * before[k]);
        }
        parts.push(part.map(|p| p / length));
    }
    let entry = |i: usize, j: usize| parts.iter().map(|part| part[i] * part[j]).sum::<f64>();
    let result = [0, 1, 2].map(|i| [0, 1, 2].map(|j| entry(i, j)));
    result.iter().flatten().all(|x| x.is_finite()).then_some(result)
}
