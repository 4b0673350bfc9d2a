//! The data sets that are measured on, and how their files are recognised. To add one, add a row.
//!
//! Invariant: a file is the expected one when its SHA-256 is, whatever its name or place say.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::files::hex;

/// A repository of the Hugging Face hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hub {
    /// Of data.
    Dataset(&'static str),
    /// Of a model.
    Model(&'static str),
}

/// One file of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Published {
    /// Below the data folder.
    pub path: &'static str,
    /// Of its bytes, in hexadecimal.
    pub sha256: &'static str,
    /// Its name in the set's repository on the hub, if it is there.
    pub on_hub: Option<&'static str>,
}

/// A row of [`SETS`].
#[derive(Clone, Copy, Debug, Serialize)]
pub struct DataSet {
    /// Stable name.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Under what terms.
    pub licence: &'static str,
    /// Where its publisher offers it.
    pub publisher: &'static str,
    /// Its repository on the hub, if `data fetch` can get it from there.
    pub hub: Option<Hub>,
    /// What it is made of.
    pub files: &'static [Published],
}

const fn file(path: &'static str, sha256: &'static str, on_hub: Option<&'static str>) -> Published {
    Published { path, sha256, on_hub }
}

/// Every set.
#[rustfmt::skip]
pub const SETS: &[DataSet] = &[
    DataSet {
        name: "wikitext2",
        about: "WikiText-2, words divided as published",
        licence: "CC BY-SA 3.0, GFDL",
        publisher: "https://wikitext.smerity.com/wikitext-2-v1.zip",
        hub: None,
        files: &[
            file("wikitext2/wiki.train.tokens", "9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f", None),
            file("wikitext2/wiki.valid.tokens", "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8", None),
            file("wikitext2/wiki.test.tokens", "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0", None),
        ],
    },
    DataSet {
        name: "wikitext103",
        about: "WikiText-103, raw; its validation and test text are WikiText-2's too",
        licence: "CC BY-SA 3.0, GFDL",
        publisher: "https://wikitext.smerity.com/wikitext-103-raw-v1.zip",
        hub: None,
        files: &[
            file("wikitext103/wiki.valid.raw", "4cd0f6876d07a413aa911261ff6d363c72d757d47f0fdd6015702014c89cb9c7", None),
            file("wikitext103/wiki.test.raw", "173c87a53759e0201f33e0ccf978e510c2042d7f2cb78229d9a50d79b9e7dd08", None),
        ],
    },
    DataSet {
        name: "ptb",
        about: "Penn Treebank, Mikolov's split and vocabulary",
        licence: "LDC: research use only, not to be passed on",
        publisher: "https://catalog.ldc.upenn.edu/LDC99T42; the split: https://www.fit.vut.cz/~imikolov/rnnlm/simple-examples.tgz",
        hub: None,
        files: &[
            file("ptb/ptb.train.txt", "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf", None),
            file("ptb/ptb.valid.txt", "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2", None),
            file("ptb/ptb.test.txt", "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0", None),
        ],
    },
    DataSet {
        name: "lambada",
        about: "LAMBADA, the variant of OpenAI, test",
        licence: "CC BY 4.0 (original)",
        publisher: "https://huggingface.co/datasets/EleutherAI/lambada_openai",
        hub: Some(Hub::Dataset("EleutherAI/lambada_openai")),
        files: &[
            file("lambada/lambada_test.jsonl", "4aa8d02cd17c719165fc8a7887fddd641f43fcafa4b1c806ca8abc31fabdb226", Some("data/lambada_test_en.jsonl")),
        ],
    },
    DataSet {
        name: "hellaswag",
        about: "HellaSwag, validation",
        licence: "MIT",
        publisher: "https://github.com/rowanz/hellaswag/tree/master/data",
        hub: None,
        files: &[
            file("hellaswag/hellaswag_val.jsonl", "dc1be2fa1bef56aab8e92a5be597a617e363b09239fa66822939d7fb7a8da4ec", None),
        ],
    },
    DataSet {
        name: "dailydialog",
        about: "DailyDialog, official split",
        licence: "CC BY-NC-SA 4.0",
        publisher: "http://yanran.li/dailydialog",
        hub: None,
        files: &[
            file("dailydialog/dialogues_train.txt", "71633bd5fdb0b09dd82215b131b56432cf7329a0fe50bc8adec168713d350d1a", None),
            file("dailydialog/dialogues_validation.txt", "2ad64701fe3a4449e7a6ee7cdc6c2a71c80f77b8a34f708ac0532395f499081c", None),
            file("dailydialog/dialogues_test.txt", "3c323651cdfb09f7b529f850eddf96a638fc6cc9b43330b77956ab248484a1a8", None),
        ],
    },
    DataSet {
        name: "personachat",
        about: "PersonaChat (ConvAI2, self, original), validation",
        licence: "CC BY 4.0",
        publisher: "http://parl.ai/downloads/convai2/convai2_fix_723.tgz",
        hub: None,
        files: &[
            file("personachat/valid_self_original_no_cands.txt", "7e26e8a266583dfe21fd2df4c651a2831dceeb7c87be9c7bb517974d9979c363", None),
        ],
    },
    DataSet {
        name: "gpt2_tokenizer",
        about: "GPT-2's byte-pair encoding",
        licence: "MIT",
        publisher: "https://huggingface.co/openai-community/gpt2",
        hub: Some(Hub::Model("openai-community/gpt2")),
        files: &[
            file("gpt2_tokenizer/vocab.json", "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783", Some("vocab.json")),
            file("gpt2_tokenizer/merges.txt", "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5", Some("merges.txt")),
        ],
    },
    DataSet {
        name: "wiki_en",
        about: "English Wikipedia, 18,082 articles to train on and 200 held out",
        licence: "CC BY-SA",
        publisher: "https://dumps.wikimedia.org (any text will do: a protocol names its files)",
        hub: None,
        files: &[
            file("pretrain/wiki_en.train.txt", "01b0f96af633508746aaa61c2850a70829632413286cf051662b7e1f5c27788e", None),
            file("pretrain/wiki_en.valid.txt", "b0438cc84b7575a9ecf90e7009496fa0797f374ac3fe5636c7cc73a61b344cdf", None),
        ],
    },
    DataSet {
        name: "novels",
        about: "English novels 1840 to 1920, 93 and 6 held out: long documents",
        licence: "public domain",
        publisher: "https://www.gutenberg.org (any text will do: a protocol names its files)",
        hub: None,
        files: &[
            file("pretrain/novels.train.txt", "68d4f7c5d88967687fc2acbf2d5300f30d85eb9e61f27f86273e5440d181d9a7", None),
            file("pretrain/novels.valid.txt", "de25693c13979934ef96523fc5ace0a0229555fbe208be67a320a961d79c6445", None),
        ],
    },
];

/// What stands where a file is expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Presence {
    /// The expected file.
    Expected,
    /// Another one.
    Other {
        /// Its SHA-256.
        sha256: String,
    },
    /// Nothing.
    Missing,
}

/// The set and the file whose bytes have that SHA-256, if they were published.
pub fn recognise(sha256: &str) -> Option<(&'static DataSet, &'static Published)> {
    let files = SETS.iter().flat_map(|set| set.files.iter().map(move |file| (set, file)));
    files.into_iter().find(|(_, file)| file.sha256 == sha256)
}

/// The set of that name.
pub fn find_set(name: &str) -> Option<&'static DataSet> {
    SETS.iter().find(|set| set.name == name)
}

impl Published {
    /// Where it is expected.
    pub fn below(&self, folder: &Path) -> PathBuf {
        self.path.split('/').fold(folder.to_owned(), |path, part| path.join(part))
    }

    /// What stands there.
    pub fn look(&self, folder: &Path) -> io::Result<Presence> {
        match digest(&self.below(folder)) {
            Ok(sha256) if sha256 == self.sha256 => Ok(Presence::Expected),
            Ok(sha256) => Ok(Presence::Other { sha256 }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Presence::Missing),
            Err(error) => Err(error),
        }
    }
}

/// The SHA-256 of a file, in hexadecimal, without holding all of it.
pub fn digest(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let (mut hash, mut part) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut part)? {
            0 => return Ok(hex(hash)),
            read => hash.update(&part[..read]),
        }
    }
}
