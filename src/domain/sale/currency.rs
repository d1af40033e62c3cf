//! ISO 4217 currencies.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Active codes that are not minor unit 2, with their minor units.
const OTHER_THAN_TWO: &[(&str, u8)] = &[
    ("BHD", 3),
    ("BIF", 0),
    ("CLP", 0),
    ("DJF", 0),
    ("GNF", 0),
    ("IQD", 3),
    ("ISK", 0),
    ("JOD", 3),
    ("JPY", 0),
    ("KMF", 0),
    ("KRW", 0),
    ("KWD", 3),
    ("LYD", 3),
    ("OMR", 3),
    ("PYG", 0),
    ("RWF", 0),
    ("TND", 3),
    ("UGX", 0),
    ("VND", 0),
    ("VUV", 0),
    ("XAF", 0),
    ("XOF", 0),
    ("XPF", 0),
];

/// Active codes with two minor digits.
const WITH_TWO: &str = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN \
    BWP BYN BZD CAD CDF CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL \
    GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR \
    LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB \
    PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SYP SZL \
    THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VES WST XCD YER ZAR ZMW ZWG";

/// A known currency. Compares and copies like a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency {
    code: [u8; 3],
    minor_digits: u8,
}

/// Not an ISO 4217 code: empty, lower-case or unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an ISO 4217 currency code in capitals")]
pub struct UnknownCurrency;

impl Currency {
    /// # Errors
    /// [`UnknownCurrency`] unless it is exactly an active code.
    pub fn parse(text: &str) -> Result<Self, UnknownCurrency> {
        let code: [u8; 3] = text.as_bytes().try_into().map_err(|_| UnknownCurrency)?;
        if let Some((_, minor_digits)) = OTHER_THAN_TWO.iter().find(|(known, _)| *known == text) {
            return Ok(Self {
                code,
                minor_digits: *minor_digits,
            });
        }
        if WITH_TWO.split_ascii_whitespace().any(|known| known == text) {
            return Ok(Self {
                code,
                minor_digits: 2,
            });
        }
        Err(UnknownCurrency)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only ASCII letters get past `parse`.
        std::str::from_utf8(&self.code).unwrap_or("XXX")
    }

    /// Digits after the point when shown to people: 0 for KRW, 2 for EUR.
    #[must_use]
    pub fn minor_digits(&self) -> u8 {
        self.minor_digits
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TryFrom<String> for Currency {
    type Error = UnknownCurrency;
    fn try_from(text: String) -> Result<Self, UnknownCurrency> {
        Self::parse(&text)
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_active_codes_in_capitals_are_currencies() {
        for (good, digits) in [("EUR", 2), ("KRW", 0), ("JPY", 0), ("KWD", 3), ("ZWG", 2)] {
            let currency = Currency::parse(good).unwrap();
            assert_eq!((currency.as_str(), currency.minor_digits()), (good, digits));
        }
        for bad in ["", "eur", "Eur", "EU", "EURO", "XXX", "E R", "A A", "€"] {
            assert_eq!(Currency::parse(bad), Err(UnknownCurrency), "{bad:?}");
        }
    }

    #[test]
    fn every_listed_code_is_listed_once() {
        let mut codes: Vec<&str> = WITH_TWO
            .split_ascii_whitespace()
            .chain(OTHER_THAN_TWO.iter().map(|(code, _)| *code))
            .collect();
        let listed = codes.len();
        assert!(codes.iter().all(|code| code.len() == 3));
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), listed);
    }
}
