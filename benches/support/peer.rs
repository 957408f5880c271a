//! A case that another program has, since it must be built with other features.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::support::Work;

/// A package under benches/, built.
#[derive(Clone)]
pub(crate) struct Package {
    program: PathBuf,
}

/// A process that runs as long as it has its input.
pub(crate) struct Peer {
    package: Package,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Package {
    /// Starts the program of this name.
    pub(crate) fn build(name: &str) -> Self {
        Self::build_program(name, name, &[])
    }

    pub(crate) fn build_program(package: &str, program: &str, options: &[&str]) -> Self {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join(package);
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(package);
        let cargo = env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--release", "--locked", "--bin", program])
            .args(options)
            .arg("--manifest-path")
            .arg(manifest.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(&target)
            .status();
        assert!(built.is_ok_and(|status| status.success()), "cargo cannot build {package}");
        Self { program: target.join("release").join(program) }
    }

    /// Starts it for one case.
    pub(crate) fn serve(&self, id: &str) -> Peer {
        let child = Command::new(&self.program)
            .args(["--serve", id])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let pipes = child.ok().and_then(|child| child.stdin.zip(child.stdout));
        let Some((input, output)) = pipes else { panic!("{:?} does not start", self.program) };
        Peer { package: self.clone(), input, output: BufReader::new(output) }
    }

    /// Returns the output of the program with this argument.
    pub(crate) fn print(&self, argument: &str) -> String {
        match Command::new(&self.program).arg(argument).output() {
            Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into(),
            failed => panic!("{:?} fails: {failed:?}", self.program),
        }
    }
}

impl Work for Peer {
    fn time(&mut self, times: u32) -> Duration {
        let mut line = String::new();
        let asked = writeln!(self.input, "{times}").and_then(|()| self.output.read_line(&mut line));
        match line.trim().parse() {
            Ok(nanoseconds) => Duration::from_nanos(nanoseconds),
            Err(_) => panic!("{:?} says {line:?}: {asked:?}", self.package.program),
        }
    }

    fn program(&self) -> PathBuf {
        self.package.program.clone()
    }
}
