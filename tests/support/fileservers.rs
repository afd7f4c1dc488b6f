//! Servers of files, of other makers, on loopback and a port of their own. They run as whoever runs the test and
//! are stopped when dropped.

use std::ffi::OsStr;
use std::fs;
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::{run, until};

/// A server that runs. Its files are in [`FileServer::root`].
pub struct FileServer {
    /// Its log, its configuration and its files.
    pub dir: TempDir,
    /// The port that it listens on.
    pub port: u16,
    host: IpAddr,
    child: Child,
}

/// The user of servers that have any.
pub const USER: &str = "ca";
/// The password of [`USER`].
pub const PASSWORD: &str = "s3cr%t:@/";
/// The same as it stands in a URL.
pub const PASSWORD_IN_URL: &str = "s3cr%25t%3A%40%2F";
/// The bucket of [`s3`].
pub const BUCKET: &str = "pki";

/// atftpd on this address; `options` such as `--no-blksize`.
pub fn tftp(host: &str, options: &[&str]) -> FileServer {
    start(host, |dir| {
        // As inetd would start it: of itself it listens on no IPv6 address.
        let socket = UdpSocket::bind((host, 0)).unwrap();
        let port = socket.local_addr().unwrap().port();
        let mut program = program("/usr/sbin/atftpd");
        program.stdin(OwnedFd::from(socket));
        // It wants a name and a group even when it runs as that user already.
        program.args(["--user", &format!("{}.{}", id("-un"), id("-gn"))]);
        program.args(["--logfile", "-"]).args(options).arg(dir.join("files"));
        (program, port)
    })
}

/// ProFTPD with [`USER`], and further lines of configuration.
pub fn ftp(host: &str, lines: &str) -> FileServer {
    start(host, |dir| {
        let port = free_port(host);
        let (uid, gid, home) = (id("-u"), id("-g"), dir.join("files"));
        let passwd = format!("{USER}:{}:{uid}:{gid}::{}:/bin/false\n", hash("-6"), home.display());
        private(&dir.join("passwd"), &passwd);
        let configuration = format!(
            "ServerType standalone\nServerName test\nDefaultAddress {host}\nPort {port}\n\
             User {user}\nGroup {group}\nRootLogin on\nRequireValidShell off\nUseFtpUsers off\n\
             AuthOrder mod_auth_file.c\nAuthUserFile {dir}/passwd\nAllowOverwrite on\nUseReverseDNS off\n\
             DelayEngine off\nWtmpLog off\nPidFile {dir}/pid\nScoreboardFile {dir}/scoreboard\n\
             SystemLog {dir}/log\nTransferLog none\n\
             <IfModule mod_ctrls.c>\nControlsEngine off\nControlsSocket {dir}/controls\n</IfModule>\n{lines}\n",
            user = id("-un"),
            group = id("-gn"),
            dir = dir.display(),
        );
        fs::write(dir.join("proftpd.conf"), configuration).unwrap();
        let mut program = program("/usr/sbin/proftpd");
        program.args(["--nodaemon", "--quiet", "--config"]).arg(dir.join("proftpd.conf"));
        (program, port)
    })
}

/// nginx that takes PUT and DELETE, below `/open/` from everybody and below `/closed/` from [`USER`]; with a
/// directory of `ca.pem`, `server.pem` and `server.key` by TLS.
pub fn http(host: &str, tls: Option<&Path>) -> FileServer {
    start(host, |dir| {
        let port = free_port(host);
        private(&dir.join("users"), &format!("{USER}:{}\n", hash("-apr1")));
        fs::create_dir_all(dir.join("files/open")).unwrap();
        fs::create_dir_all(dir.join("files/closed")).unwrap();
        let address = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let (ssl, keys) = match tls {
            None => ("", String::new()),
            Some(keys) => {
                let keys = keys.display();
                (" ssl", format!("ssl_certificate {keys}/server.pem; ssl_certificate_key {keys}/server.key;"))
            }
        };
        let user = if id("-u") == "0" { "user root;" } else { "" };
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {}/{name};\n", dir.display()))
            .concat();
        let configuration = format!(
            "{user} daemon off; master_process off; pid {dir}/pid; error_log {dir}/log;\n\
             events {{ worker_connections 64; }}\n\
             http {{ access_log {dir}/access;\n{temporary}\
             server {{ listen {address}:{port}{ssl}; {keys} root {dir}/files; client_max_body_size 1m;\n\
             create_full_put_path on;\n\
             location /open/ {{ dav_methods PUT DELETE; }}\n\
             location /closed/ {{ dav_methods PUT DELETE; auth_basic ca; auth_basic_user_file {dir}/users; }}\n\
             location /moved/ {{ rewrite ^/moved/(.*)$ /open/$1 redirect; }}\n\
             location /clear/ {{ return 302 http://127.0.0.1:1/f; }}\n\
             location /busy/ {{ return 503; }}\n\
             location /secret/ {{ deny all; }}\n\
             }} }}\n",
            dir = dir.display()
        );
        fs::write(dir.join("nginx.conf"), configuration).unwrap();
        let mut program = program("/usr/sbin/nginx");
        program.arg("-e").arg(dir.join("log")).arg("-p").arg(dir).arg("-c").arg(dir.join("nginx.conf"));
        (program, port)
    })
}

/// OpenLDAP with this LDIF below `o=Example`, for everybody to read.
pub fn ldap(host: &str, ldif: &str) -> FileServer {
    start(host, |dir| {
        let port = free_port(host);
        fs::create_dir_all(dir.join("data")).unwrap();
        fs::write(dir.join("ldif"), ldif).unwrap();
        let configuration = format!(
            "include /etc/ldap/schema/core.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\n\
             pidfile {dir}/pid\ndatabase mdb\nsuffix \"o=Example\"\ndirectory {dir}/data\n\
             access to * by * read\n",
            dir = dir.display()
        );
        fs::write(dir.join("slapd.conf"), configuration).unwrap();
        let mut add = program("/usr/sbin/slapadd");
        run(add.arg("-f").arg(dir.join("slapd.conf")).arg("-l").arg(dir.join("ldif"))).success();
        let mut program = program("/usr/sbin/slapd");
        // -d keeps it in the foreground.
        program.args(["-d", "0", "-h", &format!("ldap://{host}:{port}/"), "-f"]).arg(dir.join("slapd.conf"));
        (program, port)
    })
}

/// moto's S3 with [`BUCKET`], which [`USER`] may use with the secret [`PASSWORD`].
pub fn s3() -> FileServer {
    start("127.0.0.1", |_| {
        let port = free_port("127.0.0.1");
        // target/tmp is Cargo's; scripts/install-deps puts moto beside it.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let mut program = program(target.join("tools/venv/bin/python"));
        program.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/s3server.py"));
        program.args([&port.to_string(), USER, PASSWORD, BUCKET]);
        (program, port)
    })
}

/// A CA and a certificate for `localhost`: `ca.pem`, `server.pem`, `server.key` in `dir`. Returns the CA's DER.
pub fn certify(dir: &Path) -> Vec<u8> {
    let openssl = |arguments: &str| {
        let mut program = Command::new("openssl");
        run(program.current_dir(dir).args(arguments.split(' '))).success();
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(&format!("req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=ca -days 2"));
    openssl(&format!(
        "req -x509 {key} -CA ca.pem -CAkey ca.key -keyout server.key -out server.pem -subj /CN=localhost -days 2 \
         -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE"
    ));
    openssl("x509 -in ca.pem -outform DER -out ca.der");
    fs::read(dir.join("ca.der")).unwrap()
}

impl FileServer {
    /// `scheme://host:port/path`.
    pub fn url(&self, scheme: &str, path: &str) -> String {
        match self.host {
            IpAddr::V4(host) => format!("{scheme}://{host}:{}/{path}", self.port),
            IpAddr::V6(host) => format!("{scheme}://[{host}]:{}/{path}", self.port),
        }
    }

    /// The directory that it serves.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("files")
    }

    /// Ends it and everything that it has started; nobody listens on the port any more.
    pub fn stop(&mut self) {
        // A server and its sessions are a group of their own.
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        let _ = self.child.wait();
    }

    fn answers(&self) -> bool {
        if TcpStream::connect((self.host, self.port)).is_ok() {
            return true;
        }
        // A TFTP server answers the request for a file that is not there.
        let asked = UdpSocket::bind((self.host, 0)).and_then(|socket| {
            socket.set_read_timeout(Some(Duration::from_millis(200)))?;
            socket.send_to(b"\x00\x01none\x00octet\x00", (self.host, self.port))?;
            socket.recv_from(&mut [0; 600])
        });
        asked.is_ok()
    }
}

impl Drop for FileServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts what `program` makes for a directory, on the port that it says; on another when somebody was faster.
fn start(host: &str, program: impl Fn(&Path) -> (Command, u16)) -> FileServer {
    for _ in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("files")).unwrap();
        let (mut program, port) = program(dir.path());
        let output = fs::File::create(dir.path().join("output")).unwrap();
        program.stdout(output.try_clone().unwrap()).stderr(output).process_group(0);
        let child = program.spawn();
        let child = child.unwrap_or_else(|error| panic!("{program:?}: {error}; see scripts/install-deps"));
        let mut server = FileServer { dir, port, host: host.parse().unwrap(), child };
        let runs = until("the server answers", || {
            let ended = server.child.try_wait().unwrap().is_some();
            (ended || server.answers()).then_some(!ended)
        });
        if runs {
            return server;
        }
        let said = fs::read_to_string(server.dir.path().join("output")).unwrap();
        eprintln!("{program:?} has ended:\n{said}");
    }
    panic!("the server does not start");
}

fn free_port(host: &str) -> u16 {
    TcpListener::bind((host, 0)).unwrap().local_addr().unwrap().port()
}

fn program(name: impl AsRef<OsStr>) -> Command {
    let mut program = Command::new(name);
    program.stdin(Stdio::null());
    program
}

fn private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Of [`PASSWORD`].
fn hash(kind: &str) -> String {
    run(Command::new("openssl").args(["passwd", kind, PASSWORD])).success().stdout.trim().to_owned()
}

fn id(option: &str) -> String {
    run(Command::new("id").arg(option)).success().stdout.trim().to_owned()
}
