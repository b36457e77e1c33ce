//! A real browser under a test's control: Chromium without a window, by chromedriver (WebDriver, over HTTP on loopback).
//!
//! Only what tests of a page need. Calls block: an asynchronous test makes them on a thread of their own, or on a runtime
//! with several. What is waited for is awaited within the page, by its mutations, not polled.

mod wire;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use wire::{Wire, from_base64};

/// How long anything in the page is waited for, milliseconds.
const PATIENCE_MS: u64 = 30_000;
/// Names under which Chromium is installed.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
const DRIVER: &str = "chromedriver";

/// Why a browser didn't do what it was told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrowserError {
    /// A program isn't in `PATH`.
    #[error("{0} isn't installed, or not in PATH")]
    Missing(String),
    /// A program, a socket or a file fails.
    #[error("{0}: {1}")]
    Io(String, std::io::Error),
    /// The driver says something else than WebDriver has it say.
    #[error("the driver's answer can't be read: {0}")]
    Protocol(String),
    /// The browser refuses a command, or its time is up.
    #[error("{command}: {error}: {message}")]
    Refused {
        /// The command's path.
        command: String,
        /// WebDriver's word for it, such as `script timeout`.
        error: String,
        /// The driver's words.
        message: String,
    },
}

/// How a browser is to look at a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screen {
    /// Width of the page, CSS pixels.
    pub width: u32,
    /// Height of the page, CSS pixels.
    pub height: u32,
    /// As a phone does it: two dots a pixel, the page's own idea of its width.
    pub mobile: bool,
    /// Whether the person prefers dark colours.
    pub dark: bool,
}

/// A browser with one page. Ended when dropped.
#[derive(Debug)]
pub struct Browser {
    driver: Child,
    wire: Wire,
    session: String,
    /// Kept open: a driver that can't say anything may end.
    _said: Option<BufReader<ChildStdout>>,
}

impl Browser {
    /// Starts one.
    ///
    /// # Errors
    /// Chromium or its driver is missing, or doesn't start.
    pub fn start(javascript: bool) -> Result<Self, BrowserError> {
        let browser = BROWSERS.iter().find_map(|name| in_path(name));
        let browser = browser.ok_or_else(|| BrowserError::Missing(BROWSERS[0].to_owned()))?;
        let driver = in_path(DRIVER).ok_or_else(|| BrowserError::Missing(DRIVER.to_owned()))?;
        let mut command = Command::new(&driver);
        command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let failed = |error| BrowserError::Io(driver.display().to_string(), error);
        let mut child = command.spawn().map_err(failed)?;
        let mut said = child.stdout.take().map(BufReader::new);
        let port = said.as_mut().and_then(port_of);
        let mut started =
            Self { driver: child, wire: Wire::new(port.unwrap_or(0)), session: String::new(), _said: said };
        if port.is_none() {
            return Err(BrowserError::Protocol("it doesn't say on which port it listens".to_owned()));
        }
        let mut args = vec!["--headless=new", "--disable-dev-shm-usage", "--hide-scrollbars", "--lang=en"];
        if is_root() {
            // Chromium's own walls aren't to be had as root.
            args.push("--no-sandbox");
        }
        let scripts = if javascript { 1 } else { 2 };
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "timeouts": { "script": PATIENCE_MS, "pageLoad": PATIENCE_MS },
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": {
                "binary": browser,
                "args": args,
                "prefs": { "profile.managed_default_content_settings.javascript": scripts },
            },
        }}});
        let made = started.wire.post("/session", &wanted)?;
        let session = made["sessionId"].as_str().ok_or_else(|| BrowserError::Protocol(made.to_string()))?;
        session.clone_into(&mut started.session);
        Ok(started)
    }

    /// Sets size and colours; holds for pages that are open.
    ///
    /// # Errors
    /// See [`BrowserError`].
    pub fn screen(&self, screen: Screen) -> Result<(), BrowserError> {
        let Screen { width, height, mobile, dark } = screen;
        let dots = if mobile { 2 } else { 1 };
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": dots, "mobile": mobile });
        self.devtools("Emulation.setDeviceMetricsOverride", size)?;
        let colours = if dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": colours }] });
        self.devtools("Emulation.setEmulatedMedia", media)?;
        Ok(())
    }

    /// Opens a page, and waits until it is loaded.
    ///
    /// # Errors
    /// See [`BrowserError`].
    pub fn open(&self, url: &str) -> Result<(), BrowserError> {
        self.post("url", &json!({ "url": url })).map(drop)
    }

    /// The value of an expression in the page.
    ///
    /// # Errors
    /// See [`BrowserError`].
    pub fn value(&self, expression: &str) -> Result<Value, BrowserError> {
        self.post("execute/sync", &json!({ "script": format!("return ({expression});"), "args": [] }))
    }

    /// Waits until an expression is true in the page, looking after each change of the page.
    ///
    /// # Errors
    /// It didn't become true within half a minute ([`BrowserError::Refused`], `script timeout`), or another.
    pub fn wait(&self, expression: &str) -> Result<(), BrowserError> {
        let script = format!(
            "const done = arguments[arguments.length - 1];
             const holds = () => Boolean({expression});
             if (holds()) {{ done(true); return; }}
             const observer = new MutationObserver(() => {{ if (holds()) {{ observer.disconnect(); done(true); }} }});
             observer.observe(document, {{ subtree: true, childList: true, characterData: true, attributes: true }});"
        );
        let waited = self.post("execute/async", &json!({ "script": script, "args": [] }));
        waited.map(drop).map_err(|error| match error {
            BrowserError::Refused { error, message, .. } => {
                BrowserError::Refused { command: format!("wait for {expression}"), error, message }
            }
            other => other,
        })
    }

    /// What the console has said since it was last asked: level and words.
    ///
    /// # Errors
    /// See [`BrowserError`].
    pub fn console(&self) -> Result<Vec<String>, BrowserError> {
        let entries = self.post("se/log", &json!({ "type": "browser" }))?;
        let word = |entry: &Value, name| entry[name].as_str().unwrap_or_default().to_owned();
        let entries = entries.as_array().into_iter().flatten();
        Ok(entries.map(|entry| format!("{}: {}", word(entry, "level"), word(entry, "message"))).collect())
    }

    /// Writes a picture of the whole page, as PNG.
    ///
    /// # Errors
    /// See [`BrowserError`].
    pub fn picture(&self, file: &Path) -> Result<(), BrowserError> {
        let size = self.devtools("Page.getLayoutMetrics", json!({}))?["cssContentSize"].clone();
        let clip = json!({ "x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1 });
        let wanted = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let taken = self.devtools("Page.captureScreenshot", wanted)?;
        let image = taken["data"].as_str().and_then(from_base64);
        let image = image.ok_or_else(|| BrowserError::Protocol("no picture".to_owned()))?;
        std::fs::write(file, image).map_err(|error| BrowserError::Io(file.display().to_string(), error))
    }

    fn devtools(&self, command: &str, params: Value) -> Result<Value, BrowserError> {
        self.post("goog/cdp/execute", &json!({ "cmd": command, "params": params }))
    }

    fn post(&self, command: &str, body: &Value) -> Result<Value, BrowserError> {
        self.wire.post(&format!("/session/{}/{command}", self.session), body)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty()
            && let Err(error) = self.wire.delete(&format!("/session/{}", self.session))
        {
            tracing::warn!(%error, "a browser doesn't end as it is told");
        }
        // Both fail where the driver has ended.
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// The port that the driver says it has taken.
fn port_of(lines: &mut impl BufRead) -> Option<u16> {
    let mut line = String::new();
    while lines.read_line(&mut line).ok()? > 0 {
        if let Some((_, rest)) = line.split_once("started successfully on port ") {
            return rest.trim().trim_end_matches('.').parse().ok();
        }
        line.clear();
    }
    None
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn is_root() -> bool {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
    }
    #[cfg(not(target_os = "linux"))]
    {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_says_where_it_listens() {
        let said = "Starting ChromeDriver 1.2.3 on port 0\nChromeDriver was started successfully on port 41234.\n";
        assert_eq!(port_of(&mut said.as_bytes()), Some(41_234));
        assert_eq!(port_of(&mut "can't bind\n".as_bytes()), None);
    }
}
