//! A channel for as long as a process lives, whatever happens to its token and its certificates meanwhile.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tonic::service::interceptor::InterceptedService;

use super::{AuthorizedChannel, ConnectionArguments, ConnectionError, prepare};

/// A channel that connects at the first call and again after every loss, and is made anew when the files that it was made of have changed: tokens
/// and certificates are replaced while a rank trains.
#[derive(Debug)]
pub struct RenewedChannel {
    settings: ConnectionArguments,
    /// With the digest of the files as they were looked at last.
    current: Mutex<(blake3::Hash, AuthorizedChannel)>,
}

impl RenewedChannel {
    /// Makes the first one. Needs a tokio runtime around it.
    ///
    /// # Errors
    /// If the settings cannot be used.
    pub fn new(settings: ConnectionArguments) -> Result<Self, ConnectionError> {
        let made = make(&settings)?;
        Ok(Self {
            settings,
            current: Mutex::new(made),
        })
    }

    /// The newest.
    pub fn channel(&self) -> AuthorizedChannel {
        self.current().1.clone()
    }

    /// Looks whether the files have changed, and if so makes a new channel of them; returns whether it did. Needs a tokio runtime around it.
    ///
    /// # Errors
    /// Once, if what is there now cannot be used; the channel from before stays.
    pub fn renew(&self) -> Result<bool, ConnectionError> {
        let found = digest(&self.settings);
        if std::mem::replace(&mut self.current().0, found) == found {
            return Ok(false);
        }
        let made = make(&self.settings)?;
        *self.current() = made;
        Ok(true)
    }

    fn current(&self) -> MutexGuard<'_, (blake3::Hash, AuthorizedChannel)> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make(settings: &ConnectionArguments) -> Result<(blake3::Hash, AuthorizedChannel), ConnectionError> {
    // Before they are read: what changes in between is noticed later.
    let digest = digest(settings);
    let (endpoint, token) = prepare(settings)?;
    Ok((digest, InterceptedService::new(endpoint.connect_lazy(), token)))
}

/// Of what the files hold. One that cannot be read is unlike every content.
fn digest(settings: &ConnectionArguments) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    let files = [&settings.ca, &settings.cert, &settings.key, &settings.token_file];
    for content in files.into_iter().flatten().map(std::fs::read) {
        match content {
            Ok(content) => hasher.update(b"read").update(blake3::hash(&content).as_bytes()),
            Err(error) => hasher.update(b"not read").update(error.to_string().as_bytes()),
        };
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_channel_is_made_anew_when_its_files_change_and_stays_when_they_cannot_be_used() {
        let folder = tempfile::tempdir().unwrap();
        let token_file = folder.path().join("token");
        let write = |content: &str| std::fs::write(&token_file, content).unwrap();
        write("0123456789abcdef");
        let channel = RenewedChannel::new(ConnectionArguments {
            token_file: Some(token_file.clone()),
            coordinator: "http://127.0.0.1:1".to_owned(),
            ..ConnectionArguments::default()
        })
        .unwrap();
        assert!(!channel.renew().unwrap());
        write("fedcba9876543210");
        assert!(channel.renew().unwrap());
        assert!(!channel.renew().unwrap());
        write("");
        assert!(channel.renew().is_err());
        assert!(!channel.renew().unwrap(), "it is told once");
        write("fedcba9876543210");
        assert!(channel.renew().unwrap());
    }
}
