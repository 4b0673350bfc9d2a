//! Some items of the benchmarks again, by the referee, from their file to the numbers on record.

use rayon::prelude::*;

use super::audit_answers::Kept;
use super::collector::Collector;
use super::lots::Lots;
use crate::data::corpora::TextFile;
use crate::data::published::benchmarks::{Question, hellaswag, lambada};
use crate::data::tokenizer::Tokenizer;
use crate::evidence::{Condition, Metric};
use crate::probes::find_task;
use crate::referee::{Deviation, Number, SavedModel, beside_endings};

/// Passages that are put again; of questions, each of which is four, half as many.
const PASSAGES: usize = 4;
/// What a question's items are on record, in the order of [`beside_endings`].
const OF_QUESTIONS: [Metric; 3] =
    [Metric::HellaswagAccuracy, Metric::HellaswagAccuracyNorm, Metric::HellaswagMargin];

type ComparedItems = Result<Vec<Deviation>, String>;

impl Collector<'_> {
    /// Some items of each benchmark whose items are on record; how many, and of which file it is lacking.
    pub(super) fn benchmarks_again<N: Number>(
        &self,
        (kept, weights): (&Kept, &SavedModel<N>),
        window: usize,
        draw: &mut Lots,
    ) -> (Vec<Deviation>, Vec<String>) {
        let (mut compared, mut problems) = (Vec::new(), Vec::new());
        let most = self.protocol.eval_data(self.options.data).items.unwrap_or(usize::MAX);
        let asked = (weights, &self.dataset.tokenizer, [window, most]);
        let values = |metric| kept.values(metric, Condition::Trained);
        let mut keep = |result: ComparedItems| match result {
            Ok(found) => compared.extend(found),
            Err(problem) => problems.push(problem),
        };
        if let (Some(loss), Some(right)) = (values(Metric::LambadaLoss), values(Metric::LambadaAccuracy)) {
            keep(self.file_of("lambada_openai").and_then(|file| passages(asked, &file, [loss, right], draw)));
        }
        if let [Some(a), Some(b), Some(c)] = OF_QUESTIONS.map(values) {
            keep(self.file_of("hellaswag").and_then(|file| questions(asked, &file, [a, b, c], draw)));
        }
        (compared, problems)
    }

    /// The file of a benchmark.
    fn file_of(&self, task: &str) -> Result<TextFile, String> {
        let data = self.protocol.eval_data(self.options.data);
        let path = find_task(task).and_then(|task| task.file_in(&data));
        let path = path.ok_or_else(|| format!("{task}: its file is not here"))?;
        TextFile::read(&path).map_err(|error| error.to_string())
    }
}

/// Who is asked, in which tokens; the window, and how many items the protocol asks at most.
type AskedModel<'a, N> = (&'a SavedModel<N>, &'a Tokenizer, [usize; 2]);

/// Passages of LAMBADA: the loss of the last word, and whether it is the likeliest.
fn passages<N: Number>(
    (weights, tokenizer, [window, most]): AskedModel<'_, N>,
    file: &TextFile,
    [loss, right]: [Vec<f64>; 2],
    draw: &mut Lots,
) -> ComparedItems {
    let all = lambada(file).map_err(|e| e.to_string())?;
    let count = all.len().min(most);
    if count == 0 || loss.len() != count || right.len() != count {
        return Ok(vec![Deviation::fact(format!("{count} passages of LAMBADA on record"), false)]);
    }
    let drawn: Vec<usize> = (0..PASSAGES).map(|_| draw.below(count)).collect();
    let again = |&place: &usize| -> ComparedItems {
        let passage = &all[place];
        if passage.context.trim().is_empty() {
            return Ok(Vec::new());
        }
        let pair = (passage.context.as_str(), passage.target.as_str());
        let found = weights.continuation(tokenizer, pair, window).map_err(|e| e.to_string())?;
        let what = |figure: &str| format!("LAMBADA, passage {}: {figure}", place + 1);
        let beside = [
            Some(found.beside_loss(loss[place], what("loss"))),
            found.beside_right(right[place], what("right")),
        ];
        Ok(beside.into_iter().flatten().collect())
    };
    Ok(drawn.par_iter().map(again).collect::<Result<Vec<_>, _>>()?.concat())
}

/// Questions of HellaSwag: every ending after the question and a space.
fn questions<N: Number>(
    (weights, tokenizer, [window, most]): AskedModel<'_, N>,
    file: &TextFile,
    recorded: [Vec<f64>; 3],
    draw: &mut Lots,
) -> ComparedItems {
    let all: Vec<Question> = hellaswag(file).map_err(|e| e.to_string())?;
    let count = all.len().min(most);
    if count == 0 || recorded.iter().any(|values| values.len() != count) {
        return Ok(vec![Deviation::fact(format!("{count} questions of HellaSwag on record"), false)]);
    }
    let drawn: Vec<usize> = (0..PASSAGES / 2).map(|_| draw.below(count)).collect();
    let again = |&place: &usize| -> ComparedItems {
        let question = &all[place];
        let ending = |text: &String| {
            let pair = (question.query.as_str(), &*format!(" {text}"));
            let found = weights.continuation(tokenizer, pair, window).map_err(|e| e.to_string())?;
            Ok((found, [text.chars().count(), text.len()]))
        };
        let endings = question.endings.par_iter().map(ending).collect::<Result<Vec<_>, String>>()?;
        let recorded = recorded.each_ref().map(|values| values[place]);
        let what = format!("HellaSwag, question {}", place + 1);
        Ok(beside_endings(recorded, &endings, question.truth, &what))
    };
    Ok(drawn.par_iter().map(again).collect::<Result<Vec<_>, _>>()?.concat())
}
