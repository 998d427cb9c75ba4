//! Authenticated encryption of access tokens (RFC 7635 §6.2): the algorithms of RFC 7518 §5.1, over the primitives
//! of RustCrypto.

use aes_gcm::aead::AeadInOut;
use aes_gcm::aead::consts::{U12, U16};
use aes_gcm::aes::{Aes128, Aes192, Aes256};
use aes_gcm::{AesGcm, KeyInit};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use hmac::{Hmac, Mac};
use sha2::{Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq as _;

/// Length of the block of AES and of the zero initialization vector, in bytes.
const BLOCK: usize = 16;

/// How a token is sealed, by its name in RFC 7518 §5.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenAlgorithm {
    /// AES-GCM with a key of 16 bytes.
    A128Gcm,
    /// AES-GCM with a key of 24 bytes.
    A192Gcm,
    /// AES-GCM with a key of 32 bytes; the one that RFC 7635 §4.1.1 says everybody MUST have.
    #[default]
    A256Gcm,
    /// AES-CBC with HMAC-SHA-256, with a key of 32 bytes for both.
    A128CbcHs256,
    /// AES-CBC with HMAC-SHA-384, with a key of 48 bytes for both.
    A192CbcHs384,
    /// AES-CBC with HMAC-SHA-512, with a key of 64 bytes for both.
    A256CbcHs512,
}

impl TokenAlgorithm {
    /// All of them with their names, the strongest of either family first.
    pub const NAMES: [(&'static str, Self); 6] = [
        ("A256GCM", Self::A256Gcm),
        ("A192GCM", Self::A192Gcm),
        ("A128GCM", Self::A128Gcm),
        ("A256CBC-HS512", Self::A256CbcHs512),
        ("A192CBC-HS384", Self::A192CbcHs384),
        ("A128CBC-HS256", Self::A128CbcHs256),
    ];

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::A128Gcm => "A128GCM",
            Self::A192Gcm => "A192GCM",
            Self::A256Gcm => "A256GCM",
            Self::A128CbcHs256 => "A128CBC-HS256",
            Self::A192CbcHs384 => "A192CBC-HS384",
            Self::A256CbcHs512 => "A256CBC-HS512",
        }
    }

    /// The one length of its keys, in bytes.
    pub const fn key_len(self) -> usize {
        match self {
            Self::A128Gcm => 16,
            Self::A192Gcm => 24,
            Self::A256Gcm | Self::A128CbcHs256 => 32,
            Self::A192CbcHs384 => 48,
            Self::A256CbcHs512 => 64,
        }
    }

    /// The one length of its nonces, in bytes: RFC 5116 §5.1 has 12 for AES-GCM. The others take a vector of zeroes
    /// instead (RFC 7635 §6.2), so their tokens carry none.
    pub const fn nonce_len(self) -> usize {
        match self {
            Self::A128Gcm | Self::A192Gcm | Self::A256Gcm => 12,
            Self::A128CbcHs256 | Self::A192CbcHs384 | Self::A256CbcHs512 => 0,
        }
    }

    /// Encrypts `block` with `key` so that nobody can change it or `name`. `None` when key or nonce have another
    /// length than the algorithm's.
    pub(super) fn seal(self, key: &[u8], nonce: &[u8], name: &[u8], block: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::A128Gcm => seal_gcm::<AesGcm<Aes128, U12>>(key, nonce, name, block),
            Self::A192Gcm => seal_gcm::<AesGcm<Aes192, U12>>(key, nonce, name, block),
            Self::A256Gcm => seal_gcm::<AesGcm<Aes256, U12>>(key, nonce, name, block),
            Self::A128CbcHs256 => seal_cbc::<Aes128, Hmac<Sha256>>(key, nonce, name, block),
            Self::A192CbcHs384 => seal_cbc::<Aes192, Hmac<Sha384>>(key, nonce, name, block),
            Self::A256CbcHs512 => seal_cbc::<Aes256, Hmac<Sha512>>(key, nonce, name, block),
        }
    }

    /// Checks and decrypts `text` in place. `None` when it was not sealed with this key for this name.
    pub(super) fn open<'t>(
        self,
        key: &[u8],
        nonce: &[u8],
        name: &[u8],
        text: &'t mut [u8],
    ) -> Option<&'t [u8]> {
        match self {
            Self::A128Gcm => open_gcm::<AesGcm<Aes128, U12>>(key, nonce, name, text),
            Self::A192Gcm => open_gcm::<AesGcm<Aes192, U12>>(key, nonce, name, text),
            Self::A256Gcm => open_gcm::<AesGcm<Aes256, U12>>(key, nonce, name, text),
            Self::A128CbcHs256 => open_cbc::<Aes128, Hmac<Sha256>>(key, nonce, name, text),
            Self::A192CbcHs384 => open_cbc::<Aes192, Hmac<Sha384>>(key, nonce, name, text),
            Self::A256CbcHs512 => open_cbc::<Aes256, Hmac<Sha512>>(key, nonce, name, text),
        }
    }
}

fn seal_gcm<C>(key: &[u8], nonce: &[u8], name: &[u8], block: &[u8]) -> Option<Vec<u8>>
where
    C: KeyInit + AeadInOut<NonceSize = U12, TagSize = U16>,
{
    let cipher = C::new_from_slice(key).ok()?;
    let mut text = block.to_vec();
    let tag =
        cipher.encrypt_inout_detached(&nonce.try_into().ok()?, name, text.as_mut_slice().into()).ok()?;
    text.extend_from_slice(&tag);
    Some(text)
}

fn open_gcm<'t, C>(key: &[u8], nonce: &[u8], name: &[u8], text: &'t mut [u8]) -> Option<&'t [u8]>
where
    C: KeyInit + AeadInOut<NonceSize = U12, TagSize = U16>,
{
    let cipher = C::new_from_slice(key).ok()?;
    let (text, tag) = text.split_last_chunk_mut::<BLOCK>()?;
    cipher.decrypt_inout_detached(&nonce.try_into().ok()?, name, (&mut *text).into(), &(*tag).into()).ok()?;
    Some(text)
}

/// The first half of the key authenticates, the second encrypts (RFC 7635 §6.2).
fn seal_cbc<C, M>(key: &[u8], nonce: &[u8], name: &[u8], block: &[u8]) -> Option<Vec<u8>>
where
    C: BlockCipherEncrypt + KeyInit,
    cbc::Encryptor<C>: KeyIvInit + BlockModeEncrypt,
    M: Mac + KeyInit,
{
    let (auth, encryption) = key.split_at_checked(key.len() / 2)?;
    let cipher = cbc::Encryptor::<C>::new_from_slices(encryption, &[0; BLOCK]).ok()?;
    let mut text = block.to_vec();
    text.resize(block.len() + BLOCK, 0);
    let len = cipher.encrypt_padded::<Pkcs7>(&mut text, block.len()).ok()?.len();
    text.truncate(len);
    let tag = cbc_tag::<M>(auth, name, &text)?;
    text.extend_from_slice(tag.get(..auth.len())?);
    nonce.is_empty().then_some(text)
}

fn open_cbc<'t, C, M>(key: &[u8], nonce: &[u8], name: &[u8], text: &'t mut [u8]) -> Option<&'t [u8]>
where
    C: BlockCipherDecrypt + KeyInit,
    cbc::Decryptor<C>: KeyIvInit + BlockModeDecrypt,
    M: Mac + KeyInit,
{
    let (auth, encryption) = key.split_at_checked(key.len() / 2)?;
    let (text, tag) = text.split_at_mut_checked(text.len().checked_sub(auth.len())?)?;
    let ours = cbc_tag::<M>(auth, name, text)?;
    // The tag comes first: of what is not authentic the padding is never looked at.
    let genuine: bool = ours.get(..auth.len())?.ct_eq(tag).into();
    if !genuine || !nonce.is_empty() {
        return None;
    }
    let cipher = cbc::Decryptor::<C>::new_from_slices(encryption, &[0; BLOCK]).ok()?;
    cipher.decrypt_padded::<Pkcs7>(text).ok()
}

/// The HMAC over name, ciphertext and the number of bits in the name, whose first half is the tag.
fn cbc_tag<M: Mac + KeyInit>(auth: &[u8], name: &[u8], text: &[u8]) -> Option<hmac::digest::Output<M>> {
    let mut mac = M::new_from_slice(auth).ok()?;
    mac.update(name);
    mac.update(text);
    mac.update(&u64::try_from(name.len()).ok()?.checked_mul(8)?.to_be_bytes());
    Some(mac.finalize().into_bytes())
}
