//! MODP groups (RFC 3526; RFC 7296 appendix B for 1024 bits), in constant time and with short exponents.

use std::sync::OnceLock;

use adit_tunnel::{Random, Secret};
use crypto_bigint::{
    BoxedUint, Odd, Resize,
    modular::{BoxedMontyForm, BoxedMontyParams},
};
use zeroize::Zeroizing;

use crate::message::numbers::DhGroup;

/// A private exponent.
pub(super) struct ModpKey {
    group: &'static Modp,
    exponent: Zeroizing<BoxedUint>,
}

impl ModpKey {
    pub(super) fn generate(group: DhGroup, random: &mut dyn Random) -> Option<Self> {
        let group = Modp::find(group)?;
        let mut exponent = Zeroizing::new(vec![0; group.exponent_len]);
        random.fill(&mut exponent);
        Self::new(group, &exponent).filter(|key| !bool::from(key.exponent.is_zero()))
    }

    pub(super) fn new(group: &'static Modp, exponent: &[u8]) -> Option<Self> {
        let exponent = BoxedUint::from_be_slice(exponent, u32::try_from(exponent.len() * 8).ok()?).ok()?;
        Some(Self { group, exponent: Zeroizing::new(exponent) })
    }

    /// `2^x mod p`, as long as `p`.
    pub(super) fn public(&self) -> Vec<u8> {
        let generator = BoxedUint::from(2_u8).resize(self.group.bits);
        self.raise(generator, self.group.params()).into()
    }

    /// `y^x mod p`, as long as `p`; `None` unless `1 < y < p - 1` (RFC 6989 §2.1).
    pub(super) fn agree(&self, theirs: &[u8]) -> Option<Secret> {
        Some(Secret::new(self.raise(self.group.public(theirs)?, self.group.params())))
    }

    /// Whether [`Self::agree`] takes it.
    pub(super) fn fits(&self, theirs: &[u8]) -> bool {
        self.group.public(theirs).is_some()
    }

    fn raise(&self, base: BoxedUint, params: &BoxedMontyParams) -> Box<[u8]> {
        let base = BoxedMontyForm::new(base, params);
        let power = Zeroizing::new(base.pow_bounded_exp(&self.exponent, self.exponent.bits_precision()));
        Zeroizing::new(power.retrieve()).to_be_bytes()
    }
}

/// One group; the generator is 2.
pub(super) struct Modp {
    pub(super) group: DhGroup,
    pub(super) bits: u32,
    /// Makes `2^n - 2^(n-64) - 1 + 2^64 * ([2^(n-130) * pi] + correction)` the prime of `n` bits.
    correction: u32,
    /// Bytes of an exponent: at least twice the larger estimate of the group's strength (RFC 3526 §8).
    pub(super) exponent_len: usize,
    params: OnceLock<BoxedMontyParams>,
}

impl Modp {
    const fn new(group: DhGroup, bits: u32, correction: u32, exponent_len: usize) -> Self {
        Self { group, bits, correction, exponent_len, params: OnceLock::new() }
    }
}

static GROUPS: [Modp; 7] = [
    Modp::new(DhGroup::MODP_1024, 1024, 129_093, 32),
    Modp::new(DhGroup::MODP_1536, 1536, 741_804, 32),
    Modp::new(DhGroup::MODP_2048, 2048, 124_476, 40),
    Modp::new(DhGroup::MODP_3072, 3072, 1_690_314, 56),
    Modp::new(DhGroup::MODP_4096, 4096, 240_904, 64),
    Modp::new(DhGroup::MODP_6144, 6144, 929_484, 72),
    Modp::new(DhGroup::MODP_8192, 8192, 4_743_158, 80),
];

impl Modp {
    pub(super) fn find(group: DhGroup) -> Option<&'static Self> {
        GROUPS.iter().find(|known| known.group == group)
    }

    /// The public value, if it is one (RFC 6989 §2.1).
    pub(super) fn public(&self, value: &[u8]) -> Option<BoxedUint> {
        let value = BoxedUint::from_be_slice(value, self.bits).ok()?;
        let one = BoxedUint::one_with_precision(self.bits);
        let last = self.params().modulus().as_ref().wrapping_sub(&one);
        (value > one && value < last).then_some(value)
    }

    /// Made at the first use.
    pub(super) fn params(&self) -> &BoxedMontyParams {
        self.params.get_or_init(|| {
            #[expect(clippy::expect_used, reason = "a test makes the modulus of every group")]
            let prime = Odd::new(self.prime()).into_option().expect("a prime is odd");
            BoxedMontyParams::new_vartime(prime)
        })
    }

    pub(super) fn prime(&self) -> BoxedUint {
        const ONES: &str = "ffffffffffffffff";
        let digits = PI.iter().flat_map(|line| line.chars()).take((self.bits as usize - 128) / 4);
        let hex: String = ONES.chars().chain(digits).chain(ONES.chars()).collect();
        #[expect(clippy::expect_used, reason = "a test makes the modulus of every group")]
        let start = BoxedUint::from_be_hex(&hex, self.bits).into_option().expect("these are hexadecimal digits");
        start + (u128::from(self.correction - 1) << 64)
    }
}

/// Bytes of the modulus and of public values; `None` if we do not have the group.
pub(super) fn len(group: DhGroup) -> Option<usize> {
    Modp::find(group).map(|group| group.bits as usize / 8)
}

/// The first hexadecimal digits of pi, as many as the largest prime takes: `[2^8062 * pi]`.
const PI: [&str; 21] = [
    "c90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22514a08798e3404ddef9519b3cd3a431b",
    "302b0a6df25f14374fe1356d6d51c245e485b576625e7ec6f44c42e9a637ed6b0bff5cb6f406b7edee386bfb5a899fa5",
    "ae9f24117c4b1fe649286651ece45b3dc2007cb8a163bf0598da48361c55d39a69163fa8fd24cf5f83655d23dca3ad96",
    "1c62f356208552bb9ed529077096966d670c354e4abc9804f1746c08ca18217c32905e462e36ce3be39e772c180e8603",
    "9b2783a2ec07a28fb5c55df06f4c52c9de2bcbf6955817183995497cea956ae515d2261898fa051015728e5a8aaac42d",
    "ad33170d04507a33a85521abdf1cba64ecfb850458dbef0a8aea71575d060c7db3970f85a6e1e4c7abf5ae8cdb0933d7",
    "1e8c94e04a25619dcee3d2261ad2ee6bf12ffa06d98a0864d87602733ec86a64521f2b18177b200cbbe117577a615d6c",
    "770988c0bad946e208e24fa074e5ab3143db5bfce0fd108e4b82d120a92108011a723c12a787e6d788719a10bdba5b26",
    "99c327186af4e23c1a946834b6150bda2583e9ca2ad44ce8dbbbc2db04de8ef92e8efc141fbecaa6287c59474e6bc05d",
    "99b2964fa090c3a2233ba186515be7ed1f612970cee2d7afb81bdd762170481cd0069127d5b05aa993b4ea988d8fddc1",
    "86ffb7dc90a6c08f4df435c93402849236c3fab4d27c7026c1d4dcb2602646dec9751e763dba37bdf8ff9406ad9e530e",
    "e5db382f413001aeb06a53ed9027d831179727b0865a8918da3edbebcf9b14ed44ce6cbaced4bb1bdb7f1447e6cc254b",
    "332051512bd7af426fb8f401378cd2bf5983ca01c64b92ecf032ea15d1721d03f482d7ce6e74fef6d55e702f46980c82",
    "b5a84031900b1c9e59e7c97fbec7e8f323a97a7e36cc88be0f1d45b7ff585ac54bd407b22b4154aacc8f6d7ebf48e1d8",
    "14cc5ed20f8037e0a79715eef29be32806a1d58bb7c5da76f550aa3d8a1fbff0eb19ccb1a313d55cda56c9ec2ef29632",
    "387fe8d76e3c0468043e8f663f4860ee12bf2d5b0b7474d6e694f91e6dbe115974a3926f12fee5e438777cb6a932df8c",
    "d8bec4d073b931ba3bc832b68d9dd300741fa7bf8afc47ed2576f6936ba424663aab639c5ae4f5683423b4742bf1c978",
    "238f16cbe39d652de3fdb8befc848ad922222e04a4037c0713eb57a81a23f0c73473fc646cea306b4bcbc8862f8385dd",
    "fa9d4b7fa2c087e879683303ed5bdd3a062b3cf5b3a278a66d2a13f83f44f82ddf310ee074ab6a364597e899a0255dc1",
    "64f31cc50846851df9ab48195ded7ea1b1d510bd7ee74d73faf36bc31ecfa268359046f4eb879f924009438b481c6cd7",
    "889a002ed5ee382bc9190da6fc026e479558e4475677e9aa9e3050e2765694dfc81f56e880b96e7160c980dd98a573ea",
];
