//! Cache of a token that the exporter obtains itself.
//!
//! The token is cached until shortly before its expiry, and replaced once it is rejected.
//! Concurrent callers share one token request.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::model::error::{PollError, Reason};

/// Time before its expiry at which a token is renewed, at most half of its lifetime.
const RENEW_BEFORE: Duration = Duration::from_mins(5);

/// Time until a failed token request is repeated.
///
/// It applies to a renewal while the cached token is valid, to a rejected credential, and to a
/// response without a token.
const RETRY_INTERVAL: Duration = Duration::from_mins(1);
/// Minimum lifetime of a token: a shorter one would be requested before every request.
const MIN_LIFETIME: Duration = Duration::from_mins(1);

/// A token, and other values of its response.
#[derive(Debug)]
pub(crate) struct Token<T> {
    /// The token.
    pub secret: SecretString,
    /// Other values of the response.
    pub extra: T,
    issued_at: Instant,
    lifetime: Duration,
}

impl<T> Token<T> {
    /// Creates a token that was issued now.
    pub(crate) fn new(secret: SecretString, lifetime: Duration, extra: T) -> Self {
        Self {
            secret,
            extra,
            issued_at: Instant::now(),
            lifetime: lifetime.max(MIN_LIFETIME),
        }
    }

    /// Returns the time from issue to expiry.
    pub(crate) fn lifetime(&self) -> Duration {
        self.lifetime
    }

    fn needs_renewal(&self) -> bool {
        self.issued_at.elapsed() + RENEW_BEFORE.min(self.lifetime / 2) >= self.lifetime
    }

    fn is_expired(&self) -> bool {
        self.issued_at.elapsed() >= self.lifetime
    }
}

/// Cache of one token.
#[derive(Debug)]
pub(crate) struct TokenCache<T> {
    kept: Mutex<CachedToken<T>>,
}

#[derive(Debug)]
struct CachedToken<T> {
    token: Option<Arc<Token<T>>>,
    /// Fingerprint of the credential that the token was issued for.
    credential: Option<u64>,
    /// Time at which a token was rejected that had just replaced a rejected one.
    ///
    /// The next one would be rejected as well.
    rejected_again_at: Option<Instant>,
    /// Last failed token request, and the credential that it used.
    failure: Option<TokenFailure>,
}

#[derive(Debug)]
struct TokenFailure {
    at: Instant,
    error: PollError,
    credential: Option<u64>,
}

impl<T> Default for TokenCache<T> {
    fn default() -> Self {
        Self {
            kept: Mutex::new(CachedToken {
                token: None,
                credential: None,
                rejected_again_at: None,
                failure: None,
            }),
        }
    }
}

impl<T> TokenCache<T> {
    /// Runs `call` with the cached token, and once more with a new one if that is rejected.
    pub(crate) async fn with<R, F, G>(
        &self,
        credential: Option<u64>,
        mint: impl Fn() -> F,
        call: impl Fn(Arc<Token<T>>) -> G,
    ) -> Result<R, PollError>
    where
        F: Future<Output = Result<Token<T>, PollError>>,
        G: Future<Output = Result<R, PollError>>,
    {
        let token = self.get(credential, &mint).await?;
        let refused = |error: &PollError| {
            matches!(
                error.reason,
                Reason::Unauthorized | Reason::IntegrationMismatch
            )
        };
        match call(token.clone()).await {
            Err(error) if refused(&error) => {
                let rejected_again_at = self.kept.lock().await.rejected_again_at;
                if rejected_again_at.is_some_and(|at| at.elapsed() < RETRY_INTERVAL) {
                    return Err(error);
                }
                let token = self.replace(&token, credential, &mint).await?;
                let response = call(token).await;
                if response.as_ref().is_err_and(refused) {
                    self.kept.lock().await.rejected_again_at = Some(Instant::now());
                }
                response
            }
            response => response,
        }
    }

    /// Returns the cached token, or a new one if it is about to expire.
    ///
    /// If the renewal fails, the cached token is used until it expires. `credential` is the
    /// fingerprint of the credential for a new token.
    pub(crate) async fn get<F>(
        &self,
        credential: Option<u64>,
        mint: impl FnOnce() -> F,
    ) -> Result<Arc<Token<T>>, PollError>
    where
        F: Future<Output = Result<Token<T>, PollError>>,
    {
        let asked = Instant::now();
        let mut kept = self.kept.lock().await;
        if credential.is_some() && kept.credential != credential {
            kept.token = None;
        }
        match kept.token.clone() {
            Some(token) if !token.needs_renewal() => Ok(token),
            Some(token) if !token.is_expired() => {
                if kept
                    .failure
                    .as_ref()
                    .is_some_and(|failure| failure.at.elapsed() < RETRY_INTERVAL)
                {
                    return Ok(token);
                }
                Ok(kept
                    .renew(asked, credential, mint)
                    .await
                    .unwrap_or_else(|error| {
                        tracing::warn!(
                            reason = error.reason.label(),
                            request_id = error.request_id,
                            %error,
                            "a token could not be renewed early: the kept one serves until its end"
                        );
                        token
                    }))
            }
            _ => kept.renew(asked, credential, mint).await,
        }
    }

    /// Returns a token other than `refused`, which the vendor rejected.
    async fn replace<F>(
        &self,
        refused: &Arc<Token<T>>,
        credential: Option<u64>,
        mint: impl FnOnce() -> F,
    ) -> Result<Arc<Token<T>>, PollError>
    where
        F: Future<Output = Result<Token<T>, PollError>>,
    {
        let asked = Instant::now();
        let mut kept = self.kept.lock().await;
        match &kept.token {
            Some(token) if !Arc::ptr_eq(token, refused) => Ok(token.clone()),
            _ => {
                kept.token = None;
                kept.renew(asked, credential, mint).await
            }
        }
    }
}

impl<T> CachedToken<T> {
    async fn renew<F>(
        &mut self,
        asked: Instant,
        credential: Option<u64>,
        mint: impl FnOnce() -> F,
    ) -> Result<Arc<Token<T>>, PollError>
    where
        F: Future<Output = Result<Token<T>, PollError>>,
    {
        if let Some(failure) = &self.failure {
            // A caller that waited during the failure shares it, instead of requesting again.
            let shared = failure.at > asked;
            let refused = (failure.error.is_refused_credential()
                || failure.error.reason == Reason::Decode)
                && failure.credential == credential;
            if shared || (refused && failure.at.elapsed() < RETRY_INTERVAL) {
                return Err(failure.error.clone());
            }
        }
        match mint().await {
            Ok(token) => {
                let token = Arc::new(token);
                self.token = Some(token.clone());
                self.credential = credential;
                self.failure = None;
                Ok(token)
            }
            Err(error) => {
                self.failure = Some(TokenFailure {
                    at: Instant::now(),
                    error: error.clone(),
                    credential,
                });
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use super::*;

    async fn mint(count: &AtomicU32, lifetime: u64) -> Result<Token<()>, PollError> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        count.fetch_add(1, Relaxed);
        if lifetime == 0 {
            return Err(PollError::new(Reason::Unauthorized, "oauth_token", "no"));
        }
        Ok(Token::new(
            SecretString::from("t"),
            Duration::from_secs(lifetime),
            (),
        ))
    }

    #[tokio::test(start_paused = true)]
    async fn many_waiters_share_one_request_whether_it_succeeds_or_not() {
        for lifetime in [3600, 0] {
            let (cache, count) = (TokenCache::default(), AtomicU32::new(0));
            let answers = futures_util::future::join_all(
                (0..50).map(|_| cache.get(Some(1), || mint(&count, lifetime))),
            )
            .await;
            assert!(
                answers
                    .iter()
                    .all(|response| response.is_ok() == (lifetime > 0))
            );
            assert_eq!(count.load(Relaxed), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_renewed_five_minutes_early_and_serves_on_if_that_fails() {
        let (cache, count) = (TokenCache::default(), AtomicU32::new(0));
        cache.get(Some(1), || mint(&count, 3600)).await.unwrap();
        tokio::time::advance(Duration::from_secs(3299)).await;
        cache.get(Some(1), || mint(&count, 3600)).await.unwrap();
        assert_eq!(count.load(Relaxed), 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        for _ in 0..3 {
            let old = cache.get(Some(1), || mint(&count, 0)).await;
            old.expect("the old token is good for 300 s more");
        }
        assert_eq!(
            count.load(Relaxed),
            2,
            "and a failed renewal is not tried at once again"
        );
        tokio::time::advance(Duration::from_mins(5)).await;
        cache.get(Some(1), || mint(&count, 0)).await.unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_lived_token_is_not_renewed_at_each_use() {
        let (cache, count) = (TokenCache::default(), AtomicU32::new(0));
        for _ in 0..4 {
            cache.get(Some(1), || mint(&count, 60)).await.unwrap();
        }
        assert_eq!(count.load(Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_token_is_replaced_once_for_all_who_held_it() {
        let (cache, count) = (TokenCache::default(), AtomicU32::new(0));
        let refused = cache.get(Some(1), || mint(&count, 3600)).await.unwrap();
        let one = cache
            .replace(&refused, Some(1), || mint(&count, 3600))
            .await
            .unwrap();
        let two = cache
            .replace(&refused, Some(1), || mint(&count, 3600))
            .await
            .unwrap();
        assert!(Arc::ptr_eq(&one, &two));
        assert_eq!(count.load(Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_credential_is_tried_once_a_minute_and_another_one_at_once() {
        let (cache, count) = (TokenCache::default(), AtomicU32::new(0));
        for _ in 0..10 {
            cache.get(Some(1), || mint(&count, 0)).await.unwrap_err();
        }
        assert_eq!(count.load(Relaxed), 1);
        tokio::time::advance(RETRY_INTERVAL).await;
        cache.get(Some(1), || mint(&count, 0)).await.unwrap_err();
        assert_eq!(count.load(Relaxed), 2);
        cache.get(Some(2), || mint(&count, 3600)).await.unwrap();
        assert_eq!(count.load(Relaxed), 3);
        cache.get(Some(3), || mint(&count, 3600)).await.unwrap();
        assert_eq!(
            count.load(Relaxed),
            4,
            "a kept token is not that of another credential"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_new_token_does_not_mend_costs_one_token_a_minute() {
        let (cache, count) = (TokenCache::default(), AtomicU32::new(0));
        for _ in 0..50 {
            let refused =
                |_| async { Err::<(), _>(PollError::new(Reason::Unauthorized, "list", "no")) };
            cache
                .with(Some(1), || mint(&count, 3600), refused)
                .await
                .unwrap_err();
        }
        assert_eq!(count.load(Relaxed), 2);
    }
}
