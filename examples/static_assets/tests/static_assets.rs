//! The example `static_assets`, as a process.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use axum::body::Bytes;
use axum::http::response;
use flate2::bufread::GzDecoder;
use flate2::{Compression, write::GzEncoder};

mod support;
use support::{Dir, Program, Raw, ask, soon};

/// The example over a directory, beside which there is something else.
struct Site {
    program: Program,
    dir: Dir,
}

type Answer = (response::Parts, Bytes);

impl Site {
    fn start(files: &[(&str, &[u8])]) -> Self {
        let dir = Dir::new();
        fs::create_dir(dir.path().join("site")).unwrap();
        fs::write(dir.path().join("outside"), "secret").unwrap();
        for (name, bytes) in files {
            write(&dir.path().join("site").join(name), bytes);
        }
        let site = dir.path().join("site");
        Self { program: Program::start(&[("ASSETS", site.to_str().unwrap())]), dir }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join("site").join(name)
    }

    async fn ask(&self, method: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        ask(method, &self.program.url(path), fields).await
    }

    async fn get(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.ask("GET", path, fields).await
    }

    /// Returns the first response, once it is stored: with the end of the file, which comes after the
    /// head and after the length that the client waits for.
    async fn fill(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let (head, body) = self.get(path, fields).await;
        let status = field(&head, "cache-status");
        assert!(status.contains("fwd=uri-miss") || status.contains("fwd=vary-miss"), "{head:?}");
        soon(async { while !is_hit(&self.get(path, fields).await.0) {} }).await;
        (head, body)
    }

    async fn purge(&self, tag: &str) {
        let purges = &self.program.purges;
        let (head, _) = ask("POST", &format!("{purges}/purge/{tag}"), &[]).await;
        assert_eq!(head.status, 200);
    }
}

/// Writes a file, and creates the folders that lead to it.
fn write(file: &Path, bytes: &[u8]) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, bytes).unwrap();
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Decodes gzip that has to be complete, with nothing behind its end.
fn gunzip(mut bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    GzDecoder::new(&mut bytes).read_to_end(&mut decoded).unwrap();
    assert!(bytes.is_empty(), "{} bytes after the end", bytes.len());
    decoded
}

/// Returns text of so many bytes that compresses well and differs by the seed.
fn prose(len: usize, seed: usize) -> Bytes {
    let lines = (0..).map(|n| format!("Item {n} of {seed} costs {}.\n", n * n * seed % 9_973));
    let text: Vec<u8> = lines.flat_map(String::into_bytes).take(len).collect();
    text.into()
}

#[track_caller]
fn field<'a>(head: &'a response::Parts, name: &str) -> &'a str {
    head.headers.get(name).unwrap_or_else(|| panic!("no {name}: {head:?}")).to_str().unwrap()
}

fn is_hit(head: &response::Parts) -> bool {
    field(head, "cache-status").starts_with("tower-kit; hit;")
}

const GZIP: (&str, &str) = ("accept-encoding", "gzip");
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_file_is_read_and_compressed_once() {
    let page = prose(20_000, 1);
    let site = Site::start(&[("index.html", &page)]);
    let (head, body) = site.fill("/", &[]).await;
    assert_eq!((field(&head, "content-type"), body), ("text/html", page.clone()));
    let (head, packed) = site.fill("/", &[GZIP]).await;
    assert_eq!((field(&head, "content-encoding"), gunzip(&packed)), ("gzip", page.to_vec()));

    // No hit needs the disk.
    fs::remove_file(site.file("index.html")).unwrap();
    for (fields, expected) in [(&[][..], &page), (&[GZIP], &packed)] {
        // Neither the query nor the host makes another file of it.
        for path in ["/", "/?v=2"] {
            let fields = [fields, &[("host", "other.example")]].concat();
            let (head, body) = site.get(path, &fields).await;
            assert!(is_hit(&head), "{head:?}");
            assert_eq!(body, expected);
            assert_eq!(field(&head, "content-length"), expected.len().to_string());
        }
        let (head, body) = site.ask("HEAD", "/", fields).await;
        assert!(is_hit(&head), "{head:?}");
        assert_eq!((head.status.as_u16(), &*body), (200, &b""[..]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn precompressed_files_are_sent_unchanged() {
    // Not what the layer would have made of it.
    let (script, packed) = (prose(5_000, 2), gzip(b"by the build"));
    let site = Site::start(&[
        ("app.3f9a1c.js", &script),
        ("app.3f9a1c.js.gz", &packed),
        ("app.3f9a1c.js.br", b"no more than bytes"),
    ]);
    for (coding, expected) in [("gzip", &packed[..]), ("br", b"no more than bytes")] {
        let fields = [("accept-encoding", coding)];
        let first = site.fill("/app.3f9a1c.js", &fields).await;
        for (head, body) in [first, site.get("/app.3f9a1c.js", &fields).await] {
            assert_eq!((field(&head, "content-encoding"), &*body), (coding, expected));
            assert!(field(&head, "etag").starts_with('"'), "{head:?}");
            assert!(field(&head, "vary").contains("accept-encoding"), "{head:?}");
        }
    }
    let (head, body) = site.get("/app.3f9a1c.js", &[]).await;
    assert_eq!((head.headers.get("content-encoding"), body), (None, script));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_range_is_a_part_of_what_is_sent_without_it() {
    let (script, packed) = (prose(5_000, 2), gzip(b"by the build"));
    let page = prose(20_000, 1);
    let files: [(&str, &[u8]); 3] =
        [("app.3f9a1c.js", &script), ("app.3f9a1c.js.gz", &packed), ("index.html", &page)];
    let site = Site::start(&files);
    let part = ("range", "bytes=2-5");
    for (path, fields) in
        [("/app.3f9a1c.js", &[][..]), ("/app.3f9a1c.js", &[GZIP]), ("/", &[]), ("/", &[GZIP])]
    {
        // From the disk: as a part, or cut from the whole once its length is known.
        let (head, _) = site.get(path, &[fields, &[part]].concat()).await;
        assert_eq!(head.status, 206);
        assert!(field(&head, "cache-status").contains("; fwd="), "{head:?}");
        let (whole, body) = site.fill(path, fields).await;
        let size = body.len();
        let (head, bytes) = site.get(path, &[fields, &[part]].concat()).await;
        assert!(is_hit(&head), "{head:?}");
        assert_eq!((head.status.as_u16(), &*bytes), (206, &body[2..=5]));
        assert_eq!(field(&head, "content-range"), format!("bytes 2-5/{size}"));
        assert_eq!(head.headers.get("content-encoding"), whole.headers.get("content-encoding"));
        let behind = format!("bytes={size}-");
        let (head, _) = site.get(path, &[fields, &[("range", &behind)]].concat()).await;
        assert!(is_hit(&head), "{head:?}");
        assert_eq!(head.status, 416);
        assert_eq!(field(&head, "content-range"), format!("bytes */{size}"));
        // Only a strong tag tells that the parts are of the same bytes.
        let tag = field(&whole, "etag");
        let same = [fields, &[part, ("if-range", tag)]].concat();
        let (head, _) = site.get(path, &same).await;
        assert_eq!(head.status.as_u16(), if tag.starts_with('"') { 206 } else { 200 });
        let (head, bytes) =
            site.get(path, &[fields, &[part, ("if-range", "\"x\"")]].concat()).await;
        assert_eq!((head.status.as_u16(), bytes), (200, body));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_has_the_file_gets_a_304() {
    let page = prose(20_000, 1);
    let site = Site::start(&[("index.html", &page), ("app.3f9a1c.js", &page)]);
    for path in ["/", "/app.3f9a1c.js"] {
        for fields in [&[][..], &[GZIP]] {
            let (whole, _) = site.fill(path, fields).await;
            fs::rename(site.file("index.html"), site.file("moved")).unwrap();
            for (name, validator) in
                [("if-none-match", "etag"), ("if-modified-since", "last-modified")]
            {
                let condition = (name, field(&whole, validator));
                let (head, body) = site.get(path, &[fields, &[condition]].concat()).await;
                assert!(is_hit(&head), "{head:?}");
                assert_eq!((head.status.as_u16(), &*body), (304, &b""[..]));
                for name in ["etag", "cache-control"] {
                    assert_eq!(field(&head, name), field(&whole, name));
                }
            }
            fs::rename(site.file("moved"), site.file("index.html")).unwrap();
            let other = [fields, &[("if-none-match", "\"x\"")]].concat();
            assert_eq!(site.get(path, &other).await.0.status, 200);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn deploy_purges_pages_and_not_assets() {
    let site = Site::start(&[("index.html", b"old"), ("app.3f9a1c.js", b"old")]);
    for path in ["/", "/app.3f9a1c.js"] {
        site.fill(path, &[]).await;
    }
    // It is to come.
    assert_eq!(site.fill("/news.html", &[]).await.0.status, 404);

    for name in ["index.html", "app.3f9a1c.js", "news.html"] {
        write(&site.file(name), b"new");
    }
    // A reload does not read the disk.
    for fields in [&[][..], &[("cache-control", "no-cache")], &[("pragma", "no-cache")]] {
        let (head, body) = site.get("/", fields).await;
        assert!(is_hit(&head), "{head:?}");
        assert_eq!(body, "old");
    }
    // Where everybody can ask, nobody can purge.
    let (head, _) = site.ask("POST", "/purge/pages", &[]).await;
    assert_eq!(head.status, 405);
    assert!(is_hit(&site.get("/", &[]).await.0));

    site.purge("pages").await;
    for path in ["/", "/news.html"] {
        assert_eq!(site.fill(path, &[]).await.1, "new");
    }
    let (head, body) = site.get("/app.3f9a1c.js", &[]).await;
    assert!(is_hit(&head), "{head:?}");
    assert_eq!(body, "old");
    site.purge("assets").await;
    assert_eq!(site.get("/app.3f9a1c.js", &[]).await.1, "new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn only_what_has_a_hash_in_its_name_is_for_ever() {
    let names = [
        ("app.3f9a1c.js", IMMUTABLE),
        ("app.3f9a1c.js.map", IMMUTABLE),
        ("lib/chunk.0A9B8C7D.css", IMMUTABLE),
        ("app.js", "no-cache"),
        ("app.min.js", "no-cache"),
        ("jquery.3.7.1.js", "no-cache"),
        ("report.20240131.pdf", "no-cache"),
        ("the.facade.html", "no-cache"),
        ("lib.3f9a1c.js/app.js", "no-cache"),
        ("3f9a1c.js", "no-cache"),
        ("app.3f9a1c", "no-cache"),
    ];
    let files = names.map(|(name, _)| (name, &b"x"[..]));
    let site = Site::start(&files);
    for (name, expected) in names {
        let (head, _) = site.get(&format!("/{name}"), &[]).await;
        assert_eq!(
            (head.status.as_u16(), field(&head, "cache-control")),
            (200, expected),
            "{name}"
        );
    }
    // It may be there in a moment. Queries do not count, so that the service sees none.
    let (head, _) = site.get("/gone.3f9a1c.js", &[]).await;
    assert_eq!((head.status.as_u16(), field(&head, "cache-control")), (404, "no-cache"));
    let (head, _) = site.get("/lib?a=1", &[]).await;
    assert_eq!((head.status.as_u16(), field(&head, "location")), (307, "/lib/"));
    assert!(!field(&head, "cache-status").contains("stored"), "{head:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn hidden_and_outside_files_are_not_served() {
    let site = Site::start(&[
        ("index.html", b"page"),
        ("docs/index.html", b"page"),
        (".env", b"secret"),
        (".env.gz", b"secret"),
        ("docs/.hidden/page.html", b"secret"),
        (".well-known/security.txt", b"contact"),
    ]);
    let mut raw = Raw::connect(site.program.addr).await;
    for path in [
        "/../outside",
        "/%2e%2e/outside",
        "/%2E%2E%2Foutside",
        "/..%2foutside",
        "/docs/../../outside",
        "/docs/%2e%2e/%2e%2e/outside",
        "/..\\outside",
        "/..%5coutside",
        "/....//outside",
        "//outside",
        "//etc/passwd",
        "/%2fetc%2fpasswd",
        "/file:///etc/passwd",
        "/.env",
        "/%2eenv",
        "/%2Eenv",
        "/./.env",
        "/docs/.hidden/page.html",
        "/docs/%2ehidden/page.html",
        "/index.html/",
        "/index.html%00",
        "/.env%00.html",
        "/%ff",
        "/%",
    ] {
        for fields in ["", "accept-encoding: gzip, br\r\n", "range: bytes=0-2\r\n"] {
            let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
            let (head, body) = raw.ask(&request).await;
            assert!(head.starts_with("http/1.1 404 "), "{path}: {head}");
            assert_eq!(body, "", "{path}");
        }
    }
    for (path, expected) in [
        ("/.well-known/security.txt", "contact"),
        ("/docs/", "page"),
        ("/docs/./index.html", "page"),
    ] {
        let (_, body) = raw.ask(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        assert_eq!(body, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn default_directory_is_temporary() {
    let mut program = Program::start(&[]);
    let line = program.line();
    let dir = PathBuf::from(line.strip_prefix("the files are in ").unwrap());
    let (_, page) = ask("GET", &program.url("/"), &[]).await;
    assert_eq!(page, fs::read(dir.join("index.html")).unwrap());
    let (head, script) = ask("GET", &program.url("/app.3f9a1c.js"), &[GZIP]).await;
    assert_eq!(field(&head, "cache-control"), IMMUTABLE);
    assert_eq!(script, fs::read(dir.join("app.3f9a1c.js.gz")).unwrap());
    assert_eq!(gunzip(&script), fs::read(dir.join("app.3f9a1c.js")).unwrap());
    assert!(program.stop().success());
    assert!(!dir.exists());
}
