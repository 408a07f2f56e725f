//! Reads the output of xdpfw, and asserts that it is exactly one error.

/// Output as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Claims that what was written to stderr is one error, one line, with these words.
#[track_caller]
pub fn assert_is_one_error(stderr: &str, said: &str) {
    assert!(
        stderr.starts_with("error: ") && stderr.lines().count() == 1 && stderr.contains(said),
        "not one line with {said:?}: {stderr}"
    );
}
