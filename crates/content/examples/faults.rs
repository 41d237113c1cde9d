//! The way of a package through two libraries, a step at a time, for `bench/faults.py`, which has system calls fail under it.
//! A step says what it acknowledges only when the crate has said so, and is tried three times if it fails.
//!
//!     faults step DIR NAME [DIGEST]   does a step in DIR; prints `ack ...` and `failed ...` lines
//!     faults check DIR ACK...         checks that what was acknowledged is there, whole

use std::{
    env,
    error::Error,
    fs::{self, File},
    io::{self, IoSlice, Write as _},
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::ExitCode,
};

use packhorse_content::{
    BundlePlan, Library, Limits, Look, Making, Manifest, PublishTo, SnapshotOptions, apply_bundle, check,
    lay_out, publish, snapshot_with, withdraw, write_bundle,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const TRIES: usize = 3;

/// With a call of its own, which no fault is put into.
fn say(line: &str) -> Result<()> {
    let line = format!("{line}\n");
    rustix::io::writev(io::stdout(), &[IoSlice::new(line.as_bytes())])?;
    Ok(())
}

/// What a step works with.
struct Place {
    dir: PathBuf,
}

impl Place {
    fn library(&self, name: &str) -> Result<Library> {
        Ok(Library::open(&self.dir.join(name))?)
    }

    fn bundle(&self, name: &str) -> PathBuf {
        self.dir.join("bundles").join(name)
    }

    fn point(&self) -> PathBuf {
        self.dir.join("point")
    }

    fn publish_to<'a>(&'a self, root: &'a Path, record: &'a Path) -> PublishTo<'a> {
        PublishTo { root, name: "package", record, staged: None }
    }

    /// Does a step. What it acknowledges.
    fn step(&self, name: &str, digests: &[String], libraries: &Libraries) -> Result<String> {
        let digest = |nth: usize| -> Result<packhorse_domain::Digest> {
            Ok(digests.get(nth).ok_or("a digest is expected")?.parse()?)
        };
        let manifest = |library: &Library, digest| -> Result<Manifest> {
            Ok(library.manifest(&digest)?.ok_or("the version is not held")?)
        };
        Ok(match name {
            "take-1" | "take-2" => {
                let source = self.dir.join("sources").join(name);
                let record = self.dir.join("records/source");
                let options = SnapshotOptions { record: Some(&record), ..SnapshotOptions::default() };
                let taken = snapshot_with(&source, &libraries.here, options, &|_| ControlFlow::Continue(()))?;
                format!("here {}", taken.digest)
            }
            "bundle-1" | "bundle-2" => {
                let (target, base) = (digests.len() - 1, digests.len().checked_sub(2));
                let bases = base.map(digest).transpose()?.into_iter().collect();
                let plan = BundlePlan { target: digest(target)?, bases };
                let mut file = tempfile::NamedTempFile::new_in(self.dir.join("bundles"))?;
                write_bundle(&libraries.here, &plan, &mut file, Making::small(3))?;
                file.as_file().sync_all()?;
                file.persist(self.bundle(name))?;
                File::open(self.dir.join("bundles"))?.sync_all()?;
                format!("bundle {name}")
            }
            "apply-1" | "apply-2" => {
                let file = File::open(self.bundle(&name.replace("apply", "bundle")))?;
                format!("there {}", apply_bundle(&libraries.there, &file, &Limits::default())?.digest())
            }
            "show-1" | "show-2" | "show-again" => {
                let digest = digest(digests.len() - 1)?;
                let (root, record) = (self.point(), self.dir.join("records/point"));
                let manifest = manifest(&libraries.there, digest)?;
                let to = self.publish_to(&root, &record);
                publish(&libraries.there, &digest, &manifest, to, Look::AtEverything)?;
                format!("shown {digest}")
            }
            "lay-out" => {
                let (digest, into) = (digest(digests.len() - 1)?, self.dir.join("out"));
                if into.exists() {
                    // A process that was killed left it; nobody was told of it.
                    fs::remove_dir_all(&into)?;
                }
                lay_out(&libraries.there, &manifest(&libraries.there, digest)?, &into)?;
                format!("out {digest}")
            }
            "collect" => {
                libraries.there.collect(&[digest(digests.len() - 1)?])?;
                "collected".to_owned()
            }
            "withdraw" => {
                withdraw(&self.point(), "package")?;
                "withdrawn".to_owned()
            }
            _ => return Err(format!("there is no step {name}").into()),
        })
    }

    fn check(&self, ack: &str) -> Result<()> {
        let (what, rest) = ack.split_once(' ').unwrap_or((ack, ""));
        let held = |library: &str| -> Result<Manifest> {
            let (library, digest) = (self.library(library)?, rest.parse()?);
            match library.verify(&digest)?.len() {
                0 => Ok(library.manifest(&digest)?.ok_or("the version is not held")?),
                damaged => Err(format!("{damaged} chunks are damaged or missing").into()),
            }
        };
        let as_it_should_be = |at: &Path| -> Result<()> {
            match check(&held("there")?, at)?.as_slice() {
                [] => Ok(()),
                different => Err(format!("{different:?} are not as they should be").into()),
            }
        };
        match what {
            "here" | "there" => held(what).map(drop),
            "bundle" => {
                let bytes = fs::read(self.bundle(rest))?;
                match bytes.split_last_chunk::<32>() {
                    Some((all, checksum)) if blake3::hash(all) == *checksum => Ok(()),
                    _ => Err("the bundle is not whole".into()),
                }
            }
            "shown" => as_it_should_be(&self.point().join("package")),
            "out" => as_it_should_be(&self.dir.join("out")),
            "withdrawn" if self.point().join("package").symlink_metadata().is_ok() => {
                Err("the package is still shown".into())
            }
            "collected" | "withdrawn" => Ok(()),
            _ => Err("nobody acknowledges that".into()),
        }
    }
}

struct Libraries {
    here: Library,
    there: Library,
}

fn opened(place: &Place) -> Result<Libraries> {
    Ok(Libraries { here: place.library("here")?, there: place.library("there")? })
}

/// Tries something three times and says why it failed.
fn try_hard<T>(mut work: impl FnMut() -> Result<T>) -> Result<Option<T>> {
    for _ in 0..TRIES {
        match work() {
            Ok(done) => return Ok(Some(done)),
            Err(error) => say(&format!("failed {}", chain(error.as_ref())))?,
        }
    }
    Ok(None)
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn run(arguments: &[String]) -> Result<bool> {
    match arguments {
        [what, dir, name, digests @ ..] if what == "step" => {
            let place = Place { dir: dir.into() };
            let Some(libraries) = try_hard(|| opened(&place))? else { return Ok(false) };
            let Some(ack) = try_hard(|| place.step(name, digests, &libraries))? else { return Ok(false) };
            say(&format!("ack {ack}"))?;
            Ok(true)
        }
        [what, dir, acks @ ..] if what == "check" => {
            let place = Place { dir: dir.into() };
            for library in ["here", "there"] {
                // Where there is no room for a new one, there need be none.
                if place.dir.join(library).join("format").exists() {
                    place.library(library)?;
                }
            }
            let mut held = true;
            for ack in acks {
                if let Err(error) = place.check(ack) {
                    say(&format!("broken {ack}: {}", chain(error.as_ref())))?;
                    held = false;
                }
            }
            Ok(held)
        }
        _ => Err("`step DIR NAME [DIGEST]` or `check DIR ACK...` is expected".into()),
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Standard error may be closed: there is nobody left to tell.
            let _ = writeln!(io::stderr(), "error: {}", chain(error.as_ref()));
            ExitCode::from(2)
        }
    }
}
