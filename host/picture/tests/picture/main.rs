//! Goldens of Pillow, OpenCV and scikit-image (`fixtures/make_fixtures.py`), properties, and hostile uploads.

#![allow(clippy::unwrap_used, reason = "a test may end at its first surprise")]
#![allow(clippy::print_stdout, reason = "`--nocapture` shows how near every golden is")]

mod colours;
mod control;
mod decode;
mod goldens;
mod hostile;
mod inpaint;
mod properties;
mod resize;
