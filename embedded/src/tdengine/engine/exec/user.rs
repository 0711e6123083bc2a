//! Users. Passwords are kept as they are given: the endpoint is for development and tests.

use crate::tdengine::engine::catalog::User;
use crate::tdengine::engine::{Inner, TdError, storage};

const MAX_USER_NAME_BYTES: usize = 23;
const MIN_PASSWORD_BYTES: usize = 8;
const MAX_PASSWORD_BYTES: usize = 255;

pub(crate) fn no_user() -> TdError {
    TdError::new(0x0351, "Invalid user")
}

fn check_password(password: &[u8]) -> Result<String, TdError> {
    let text = String::from_utf8_lossy(password).into_owned();
    if text.len() < MIN_PASSWORD_BYTES {
        return Err(TdError::new(0x2611, "Password too short or empty"));
    }
    if text.len() > MAX_PASSWORD_BYTES {
        return Err(TdError::new(0x2610, "Name or password too long"));
    }
    let kinds: [fn(char) -> bool; 4] = [
        |c| c.is_ascii_uppercase(),
        |c| c.is_ascii_lowercase(),
        |c| c.is_ascii_digit(),
        |c| !c.is_ascii_alphanumeric(),
    ];
    if kinds.iter().filter(|is_kind| text.chars().any(**is_kind)).count() < 3 {
        return Err(TdError::new(0x2612, "Invalid password"));
    }
    Ok(text)
}

impl Inner {
    pub(super) fn create_user(&self, name: &str, password: &[u8]) -> Result<u64, TdError> {
        if name.len() > MAX_USER_NAME_BYTES {
            return Err(TdError::new(0x2610, "Name or password too long"));
        }
        let user = User { password: check_password(password)?, created_ms: self.now_ms() };
        let writer = self.store.writer();
        let mut catalog = self.catalog_mut();
        if catalog.users.contains_key(name) {
            return Err(TdError::new(0x0350, "User already exists"));
        }
        storage::save_user(&writer, name, &user)?;
        catalog.users.insert(name.to_owned(), user);
        Ok(0)
    }

    pub(super) fn alter_user(&self, name: &str, password: &[u8]) -> Result<u64, TdError> {
        let password = check_password(password)?;
        let writer = self.store.writer();
        let mut catalog = self.catalog_mut();
        let user = catalog.users.get_mut(name).ok_or_else(no_user)?;
        let changed = User { password, ..user.clone() };
        storage::save_user(&writer, name, &changed)?;
        *user = changed;
        Ok(0)
    }

    pub(super) fn drop_user(&self, name: &str) -> Result<u64, TdError> {
        if name == "root" {
            return Err(TdError::new(0x0303, "Insufficient privilege for operation"));
        }
        let writer = self.store.writer();
        let mut catalog = self.catalog_mut();
        if !catalog.users.contains_key(name) {
            return Err(no_user());
        }
        storage::delete_user(&writer, name)?;
        catalog.users.remove(name);
        Ok(0)
    }

    pub(crate) fn login(&self, name: &str, password: &str) -> Result<(), TdError> {
        match self.catalog().users.get(name) {
            None => Err(no_user()),
            Some(user) if user.password != password => Err(TdError::new(0x0357, "Authentication failure")),
            Some(_) => Ok(()),
        }
    }
}
