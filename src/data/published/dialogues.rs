//! Published dialogues, from the bytes of their files to turns and the replies among them.
//!
//! Invariant: a turn is a line of text without white space around it, and a reply has a turn before it.

use std::path::Path;

use super::benchmarks::{BenchmarkError, is_space, not_empty};
use crate::data::corpora::TextFile;

/// A conversation of two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dialogue {
    /// What is given beforehand, line by line: what whoever replies is told about himself.
    pub opening: Vec<String>,
    /// What was said, in turns.
    pub turns: Vec<String>,
    /// The turns that are replies to be predicted, by their place.
    pub replies: Vec<usize>,
}

/// The dialogues of a benchmark's file; nothing where its task is not one of dialogue.
pub fn dialogues(task: &str, file: &TextFile) -> Option<Result<Vec<Dialogue>, BenchmarkError>> {
    match task {
        "dailydialog" => Some(dailydialog(file)),
        "personachat" => Some(personachat(file)),
        _ => None,
    }
}

/// The dialogues of a file of DailyDialog: one a line, each turn ended by `__eou__`. Every turn but the
/// first is a reply.
pub fn dailydialog(file: &TextFile) -> Result<Vec<Dialogue>, BenchmarkError> {
    const END: &str = "__eou__";
    let TextFile { path, text, .. } = file;
    let filled = text.split('\n').enumerate().filter(|(_, line)| !line.trim().is_empty());
    let read = |(index, line): (usize, &str)| {
        let bad = |reason: &str| bad(path, index, "DailyDialog", reason);
        let line = line.trim_matches(is_space);
        let whole = line.strip_suffix(END).ok_or_else(|| bad("its last turn does not end in __eou__"))?;
        let turns: Vec<String> =
            whole.split(END).map(|turn| turn.trim_matches(is_space).to_owned()).collect();
        if turns.iter().any(String::is_empty) {
            return Err(bad("a turn without text"));
        }
        if turns.len() < 2 {
            return Err(bad("no reply"));
        }
        Ok(Dialogue { opening: Vec::new(), replies: (1..turns.len()).collect(), turns })
    };
    not_empty(path, filled.map(read).collect::<Result<_, _>>()?)
}

/// The dialogues of a file of PersonaChat as ConvAI2 distributed it ("self", no candidates): numbered lines,
/// number 1 begins a dialogue; lines of the persona, then what the other one says and, after a tab, the
/// reply of the one with the persona.
pub fn personachat(file: &TextFile) -> Result<Vec<Dialogue>, BenchmarkError> {
    const PERSONA: &str = "your persona:";
    let TextFile { path, text, .. } = file;
    let mut dialogues: Vec<Dialogue> = Vec::new();
    for (index, line) in text.split('\n').enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let bad = |reason: &str| bad(path, index, "PersonaChat", reason);
        let numbered = line.trim_matches(is_space).split_once(' ');
        let numbered = numbered.and_then(|(number, rest)| Some((number.parse::<usize>().ok()?, rest)));
        let (number, rest) = numbered.ok_or_else(|| bad("it does not begin with a number"))?;
        if number == 1 {
            dialogues.push(Dialogue::default());
        }
        let Some(dialogue) = dialogues.last_mut() else { return Err(bad("number 1 is lacking")) };
        if number != dialogue.opening.len() + dialogue.replies.len() + 1 {
            return Err(bad("its number does not follow"));
        }
        if rest.starts_with(PERSONA) {
            dialogue.opening.push(rest.to_owned());
            continue;
        }
        let said = rest.split_once('\t').ok_or_else(|| bad("no tab before a reply"))?;
        for turn in [said.0, said.1].map(|turn| turn.trim_matches(is_space)) {
            if turn.is_empty() {
                return Err(bad("a turn without text"));
            }
            dialogue.turns.push(turn.to_owned());
        }
        dialogue.replies.push(dialogue.turns.len() - 1);
    }
    if dialogues.iter().any(|dialogue| dialogue.replies.is_empty()) {
        return Err(bad(path, 0, "PersonaChat", "a dialogue without a reply"));
    }
    not_empty(path, dialogues)
}

fn bad(path: &Path, index: usize, benchmark: &'static str, reason: &str) -> BenchmarkError {
    BenchmarkError::BadItem { path: path.to_owned(), line: index + 1, benchmark, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> TextFile {
        TextFile { path: "file".into(), sha256: String::new(), text: text.to_owned() }
    }

    #[test]
    fn every_turn_but_the_first_is_a_reply() {
        let file = file("One . __eou__ Two ? __eou__Three __eou__ \r\n\na __eou__ b __eou__\n");
        let found = dailydialog(&file).unwrap();
        assert_eq!(found[0].turns, ["One .", "Two ?", "Three"]);
        assert_eq!((&found[0].replies[..], &found[1].replies[..]), (&[1, 2][..], &[1][..]));
    }

    #[test]
    fn a_persona_belongs_to_whom_replies() {
        let text = "1 your persona: i knit.\n2 hi\thello !\n3 so\tyes\n1 hm\t well \n";
        let file = file(text);
        let found = personachat(&file).unwrap();
        assert_eq!(found[0].opening, ["your persona: i knit."]);
        assert_eq!(found[0].turns, ["hi", "hello !", "so", "yes"]);
        assert_eq!(found[0].replies, [1, 3]);
        assert_eq!((&found[1].opening[..], &found[1].turns[1][..]), (&[][..], "well"));
    }

    #[test]
    fn a_wrong_line_is_named() {
        let good = "a __eou__ b __eou__\n";
        for (line, says) in
            [("a __eou__ b", "end in"), ("a __eou__ __eou__", "text"), ("a __eou__", "no reply")]
        {
            let file = file(&format!("{good}{line}\n"));
            let error = dailydialog(&file).unwrap_err().to_string();
            assert!(error.contains("line 2") && error.contains(says), "{error}");
        }
        for (line, says) in
            [("x", "number"), ("3 a\tb", "follow"), ("2 a b", "tab"), ("2 a\t", "tab"), ("2  \tb", "text")]
        {
            let file = file(&format!("1 a\tb\n{line}\n"));
            let error = personachat(&file).unwrap_err().to_string();
            assert!(error.contains("line 2") && error.contains(says), "{error}");
        }
        let file = file("1 your persona: x\n1 a\tb\n");
        assert!(personachat(&file).unwrap_err().to_string().contains("without a reply"));
    }
}
