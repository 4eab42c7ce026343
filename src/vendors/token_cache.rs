//! A token that we minted ourselves: kept until shortly before its end, replaced once it is refused, and
//! asked for by one request however many wait for it.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::model::error::{PollError, Reason};

/// How long before its end a token is replaced; half of its life, if that is shorter.
const RENEW_BEFORE: Duration = Duration::from_mins(5);

/// How long a renewal that failed is not tried again while the kept token still serves, and a credential that
/// was refused, or answered by something that is no token, not at all.
const RENEW_AGAIN: Duration = Duration::from_mins(1);
/// No token is taken to live shorter: it would be asked for at every request.
const SHORTEST_LIFE: Duration = Duration::from_mins(1);

/// A minted token, and what the vendor said beside it.
#[derive(Debug)]
pub struct Token<T> {
    /// The token.
    pub secret: SecretString,
    /// What came with it.
    pub extra: T,
    minted: Instant,
    lifetime: Duration,
}

impl<T> Token<T> {
    /// A token minted now, which lives this long.
    pub fn new(secret: SecretString, lifetime: Duration, extra: T) -> Self {
        Self {
            secret,
            extra,
            minted: Instant::now(),
            lifetime: lifetime.max(SHORTEST_LIFE),
        }
    }

    /// How long it lives, from its making.
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    fn is_due(&self) -> bool {
        self.minted.elapsed() + RENEW_BEFORE.min(self.lifetime / 2) >= self.lifetime
    }

    fn is_over(&self) -> bool {
        self.minted.elapsed() >= self.lifetime
    }
}

/// Keeps one token.
#[derive(Debug)]
pub struct TokenCache<T> {
    kept: Mutex<CachedToken<T>>,
}

#[derive(Debug)]
struct CachedToken<T> {
    token: Option<Arc<Token<T>>>,
    /// What the kept token was minted from.
    credential: Option<u64>,
    /// When a token was refused that had just replaced a refused one: the next would be, too.
    futile: Option<Instant>,
    /// The last failure, and the credential that it was of.
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
                futile: None,
                failure: None,
            }),
        }
    }
}

impl<T> TokenCache<T> {
    /// Calls with the kept token, and once more with a new one if that is refused.
    pub async fn with<R, F, G>(
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
                let futile = self.kept.lock().await.futile;
                if futile.is_some_and(|at| at.elapsed() < RENEW_AGAIN) {
                    return Err(error);
                }
                let token = self.replace(&token, credential, &mint).await?;
                let answer = call(token).await;
                if answer.as_ref().is_err_and(refused) {
                    self.kept.lock().await.futile = Some(Instant::now());
                }
                answer
            }
            answer => answer,
        }
    }

    /// The kept token, or a new one if it is about to end. If there is no new one to be had, the kept one
    /// serves until its end. `credential` tells what it would be minted from.
    pub async fn get<F>(
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
            Some(token) if !token.is_due() => Ok(token),
            Some(token) if !token.is_over() => {
                if kept
                    .failure
                    .as_ref()
                    .is_some_and(|failure| failure.at.elapsed() < RENEW_AGAIN)
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

    /// A token other than this one, which the vendor refused.
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
            // Whoever waited while it failed shares the failure, instead of asking again.
            let shared = failure.at > asked;
            let refused = (failure.error.is_refused_credential()
                || failure.error.reason == Reason::Decode)
                && failure.credential == credential;
            if shared || (refused && failure.at.elapsed() < RENEW_AGAIN) {
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
            let (keeper, count) = (TokenCache::default(), AtomicU32::new(0));
            let answers = futures_util::future::join_all(
                (0..50).map(|_| keeper.get(Some(1), || mint(&count, lifetime))),
            )
            .await;
            assert!(
                answers
                    .iter()
                    .all(|answer| answer.is_ok() == (lifetime > 0))
            );
            assert_eq!(count.load(Relaxed), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_renewed_five_minutes_early_and_serves_on_if_that_fails() {
        let (keeper, count) = (TokenCache::default(), AtomicU32::new(0));
        keeper.get(Some(1), || mint(&count, 3600)).await.unwrap();
        tokio::time::advance(Duration::from_secs(3299)).await;
        keeper.get(Some(1), || mint(&count, 3600)).await.unwrap();
        assert_eq!(count.load(Relaxed), 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        for _ in 0..3 {
            let old = keeper.get(Some(1), || mint(&count, 0)).await;
            old.expect("the old token is good for 300 s more");
        }
        assert_eq!(
            count.load(Relaxed),
            2,
            "and a failed renewal is not tried at once again"
        );
        tokio::time::advance(Duration::from_mins(5)).await;
        keeper.get(Some(1), || mint(&count, 0)).await.unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_lived_token_is_not_renewed_at_each_use() {
        let (keeper, count) = (TokenCache::default(), AtomicU32::new(0));
        for _ in 0..4 {
            keeper.get(Some(1), || mint(&count, 60)).await.unwrap();
        }
        assert_eq!(count.load(Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_token_is_replaced_once_for_all_who_held_it() {
        let (keeper, count) = (TokenCache::default(), AtomicU32::new(0));
        let refused = keeper.get(Some(1), || mint(&count, 3600)).await.unwrap();
        let one = keeper
            .replace(&refused, Some(1), || mint(&count, 3600))
            .await
            .unwrap();
        let two = keeper
            .replace(&refused, Some(1), || mint(&count, 3600))
            .await
            .unwrap();
        assert!(Arc::ptr_eq(&one, &two));
        assert_eq!(count.load(Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_credential_is_tried_once_a_minute_and_another_one_at_once() {
        let (keeper, count) = (TokenCache::default(), AtomicU32::new(0));
        for _ in 0..10 {
            keeper.get(Some(1), || mint(&count, 0)).await.unwrap_err();
        }
        assert_eq!(count.load(Relaxed), 1);
        tokio::time::advance(RENEW_AGAIN).await;
        keeper.get(Some(1), || mint(&count, 0)).await.unwrap_err();
        assert_eq!(count.load(Relaxed), 2);
        keeper.get(Some(2), || mint(&count, 3600)).await.unwrap();
        assert_eq!(count.load(Relaxed), 3);
        keeper.get(Some(3), || mint(&count, 3600)).await.unwrap();
        assert_eq!(
            count.load(Relaxed),
            4,
            "a kept token is not that of another credential"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_new_token_does_not_mend_costs_one_token_a_minute() {
        let (keeper, count) = (TokenCache::default(), AtomicU32::new(0));
        for _ in 0..50 {
            let refused =
                |_| async { Err::<(), _>(PollError::new(Reason::Unauthorized, "list", "no")) };
            keeper
                .with(Some(1), || mint(&count, 3600), refused)
                .await
                .unwrap_err();
        }
        assert_eq!(count.load(Relaxed), 2);
    }
}
