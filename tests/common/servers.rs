//! Real servers: found on the PATH, started on ports that the system chose, killed with the test.

#![allow(dead_code, unreachable_pub, reason = "each test takes what it needs")]
#![allow(clippy::print_stdout, clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::folder::Folder;

/// Where a program is. Where it is not, the test is skipped, unless the environment says that it must not be.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file());
    if found.is_none() {
        let required = std::env::var_os("POINTSMAN_REQUIRE_SERVERS").is_some_and(|value| value == "1");
        assert!(!required, "{name} is not installed, and POINTSMAN_REQUIRE_SERVERS=1 asks for it");
        println!("skipped: {name} is not installed");
    }
    found
}

/// A port that was free just now.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// A server that can be killed and started again at the same place.
pub struct Server {
    program: PathBuf,
    arguments: Vec<OsString>,
    pub addr: SocketAddr,
    child: Option<Child>,
    pub folder: Folder,
}

impl Server {
    /// Starts a program whose arguments are made from its folder and two ports, the first of which it listens on.
    /// `None` if there is no such program.
    pub fn start(name: &str, arguments: impl Fn(&Folder, u16, u16) -> Vec<OsString>) -> Option<Self> {
        let program = program(name)?;
        // Somebody else may take the port in between.
        for _ in 0..5 {
            let folder = Folder::new();
            let (port, other) = (free_port(), free_port());
            let addr = (Ipv4Addr::LOCALHOST, port).into();
            let arguments = arguments(&folder, port, other);
            let mut server = Server { program: program.clone(), arguments, addr, child: None, folder };
            if server.begin() {
                return Some(server);
            }
        }
        panic!("{name} does not start");
    }

    /// Starts it, and says whether it listens.
    fn begin(&mut self) -> bool {
        let log = std::fs::File::create(self.folder.path("log")).unwrap();
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = self.child.insert(command.spawn().unwrap());
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(30) {
            if child.try_wait().unwrap().is_some() {
                break;
            }
            if TcpStream::connect(self.addr).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        println!("{}", std::fs::read_to_string(self.folder.path("log")).unwrap_or_default());
        self.kill();
        false
    }

    /// As SIGKILL does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub fn start_again(&mut self) {
        self.kill();
        assert!(self.begin(), "it does not start again");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
