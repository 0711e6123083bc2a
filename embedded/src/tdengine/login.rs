//! Who a client is: the checks of a login and the ways REST names a user.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use des::Des;
use des::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};

use super::engine::{Engine, TdError};

/// The longest user name, in bytes.
const MAX_USER_BYTES: usize = 23;
/// The longest password, in bytes.
const MAX_PASSWORD_BYTES: usize = 255;

/// A user's name and password as a client gives them.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) user: String,
    pub(super) password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Checks them as the server's client library and then the server do.
    pub(super) fn check(&self, engine: &Engine) -> Result<(), TdError> {
        if self.user.is_empty() || self.user.len() > MAX_USER_BYTES {
            return Err(TdError::new(0x0207, "Invalid user name"));
        }
        if self.password.is_empty() || self.password.len() > MAX_PASSWORD_BYTES {
            return Err(TdError::new(0x0208, "Invalid password length"));
        }
        engine.login(&self.user, &self.password)
    }
}

/// An `Authorization` header that names no user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadAuthorization {
    Missing,
    UnknownType,
    Basic,
    Taosd,
}

impl BadAuthorization {
    /// Code and text of the answer, which comes with HTTP 401.
    pub(super) fn answer(self) -> (u16, &'static str) {
        match self {
            Self::Missing => (0x1105, "no auth info input"),
            Self::UnknownType => (0x1122, "invalid type of Authorization"),
            Self::Basic => (0x1124, "invalid basic Authorization"),
            Self::Taosd => (0x1125, "invalid taosd Authorization"),
        }
    }
}

/// Reads an `Authorization` header: `Basic` (that spelling only) or `Taosd` with a token of [`token`].
pub(super) fn authorization(header: Option<&[u8]>) -> Result<Credentials, BadAuthorization> {
    let header = header.unwrap_or_default();
    if header.is_empty() {
        return Err(BadAuthorization::Missing);
    }
    let header = header.trim_ascii();
    let payload = header.get(6..).filter(|payload| !payload.is_empty());
    let (decoded, bad) = match (header.get(..5), payload) {
        (Some(b"Basic"), Some(payload)) => (basic(payload), BadAuthorization::Basic),
        (Some(b"Taosd"), Some(payload)) => (from_token(payload), BadAuthorization::Taosd),
        _ => return Err(BadAuthorization::UnknownType),
    };
    decoded.filter(|who| !who.user.is_empty() && !who.password.is_empty()).ok_or(bad)
}

fn basic(payload: &[u8]) -> Option<Credentials> {
    let text = BASE64.decode(payload).ok()?;
    let colon = text.iter().position(|byte| *byte == b':')?;
    Some(Credentials { user: lossy(&text[..colon]), password: lossy(&text[colon + 1..]) })
}

/// The key all TDengine servers share: a token hides a password, it does not protect it.
const TOKEN_KEY: [u8; 8] = [64, 182, 122, 48, 86, 115, 253, 68];
/// A token holds the user in its first 24 bytes, zero-padded, and the password in the rest, likewise.
const TOKEN_USER_BYTES: usize = 24;
const BLOCK_BYTES: usize = 8;

/// The token of `/rest/login/USER/PASSWORD`; `None` if the name does not fit.
pub(super) fn token(who: &Credentials) -> Option<String> {
    if who.user.len() > TOKEN_USER_BYTES {
        return None;
    }
    let password_bytes = who.password.len().max(TOKEN_USER_BYTES).next_multiple_of(BLOCK_BYTES);
    let mut text = vec![0; TOKEN_USER_BYTES + password_bytes];
    text[..who.user.len()].copy_from_slice(who.user.as_bytes());
    text[TOKEN_USER_BYTES..][..who.password.len()].copy_from_slice(who.password.as_bytes());
    let cipher = Des::new(&Array(TOKEN_KEY));
    for block in text.as_chunks_mut::<BLOCK_BYTES>().0 {
        let mut cipher_block = Array(*block);
        cipher.encrypt_block(&mut cipher_block);
        *block = cipher_block.0;
    }
    Some(BASE64.encode(text))
}

fn from_token(token: &[u8]) -> Option<Credentials> {
    let mut text = BASE64.decode(token).ok()?;
    if text.len() < 2 * TOKEN_USER_BYTES || !text.len().is_multiple_of(BLOCK_BYTES) {
        return None;
    }
    let cipher = Des::new(&Array(TOKEN_KEY));
    for block in text.as_chunks_mut::<BLOCK_BYTES>().0 {
        let mut cipher_block = Array(*block);
        cipher.decrypt_block(&mut cipher_block);
        *block = cipher_block.0;
    }
    let until_nul = |bytes: &[u8]| lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default());
    let (user, password) = text.split_at(TOKEN_USER_BYTES);
    Some(Credentials { user: until_nul(user), password: until_nul(password) })
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> Credentials {
        Credentials { user: "root".to_owned(), password: "taosdata".to_owned() }
    }

    fn read(header: &str) -> Result<Credentials, BadAuthorization> {
        authorization(Some(header.as_bytes()))
    }

    #[test]
    fn the_token_of_the_default_user_is_the_documented_one() {
        let token = token(&root()).unwrap();
        assert_eq!(token, "/KfeAzX/f9na8qdtNZmtONryp201ma04bEl8LcvLUd7a8qdtNZmtONryp201ma04");
        assert_eq!(read(&format!("Taosd {token}")), Ok(root()));
    }

    #[test]
    fn names_longer_than_a_token_holds_have_none() {
        assert!(token(&Credentials { user: "u".repeat(24), ..root() }).is_some());
        assert!(token(&Credentials { user: "u".repeat(25), ..root() }).is_none());
        let long = Credentials { password: "p".repeat(30), ..root() };
        assert_eq!(read(&format!("Taosd {}", token(&long).unwrap())), Ok(long));
    }

    #[test]
    fn only_basic_and_taosd_are_known() {
        assert_eq!(authorization(None), Err(BadAuthorization::Missing));
        assert_eq!(read("Basic cm9vdDp0YW9zZGF0YQ=="), Ok(root()));
        for header in ["Basic", "Basic ", "basic cm9vdDp0YW9zZGF0YQ==", "Bearer abc", "root:taosdata"] {
            assert_eq!(read(header), Err(BadAuthorization::UnknownType), "{header}");
        }
        for header in
            ["Basic xxx", "Basic  cm9vdDp0YW9zZGF0YQ==", "Basic cm9vdDp0YW9zZGF0YQ", "Basic cm9vdA==", "Basic Og=="]
        {
            assert_eq!(read(header), Err(BadAuthorization::Basic), "{header}");
        }
        assert_eq!(read("Taosd abc"), Err(BadAuthorization::Taosd));
    }
}
