use proptest::prelude::*;

use super::*;

fn money(amount_minor: i64) -> Money {
    Money::new(Currency::parse("EUR").unwrap(), amount_minor)
}

fn yen(amount_minor: i64) -> Money {
    Money::new(Currency::parse("JPY").unwrap(), amount_minor)
}

fn id(text: &str) -> ResourceId {
    ResourceId::parse(text).unwrap()
}

fn percent(percent: u32, at_most: Option<i64>) -> Discount {
    Discount::Percent {
        percent,
        at_most: at_most.map(money),
    }
}

fn terms(discount: Discount) -> NewCampaign {
    NewCampaign {
        name: "Spring".to_owned(),
        stock: 10,
        discount,
        order_min: None,
        valid_from: None,
        valid_until: None,
        concerts: Vec::new(),
        performances: Vec::new(),
    }
}

fn campaign(terms: NewCampaign, issued: u64) -> Campaign {
    Campaign {
        id: id("spring"),
        terms,
        issued,
        room: None,
        version: 1,
    }
}

/// Off a total, at a time.
fn off(terms: &NewCampaign, total: Money, now: u64) -> Result<i64, NotApplicable> {
    let purchase = Purchase {
        concert: &id("c1"),
        performance: &id("p1"),
        total,
    };
    let off = terms.discount_on(&purchase, UnixMs(now))?;
    assert_eq!(off.currency, total.currency);
    Ok(off.amount_minor)
}

#[test]
fn a_percentage_is_cut_to_whole_minor_units() {
    let third = terms(percent(33, None));
    assert_eq!(off(&third, money(100), 0), Ok(33));
    assert_eq!(off(&third, money(10), 0), Ok(3));
    assert_eq!(off(&third, money(3), 0), Err(NotApplicable::TakesNothing));
    assert_eq!(off(&terms(percent(100, None)), money(7), 0), Ok(7));
    let most = terms(percent(50, Some(20)));
    assert_eq!(off(&most, money(100), 0), Ok(20));
    assert_eq!(off(&most, money(30), 0), Ok(15));
    let large = money(AMOUNT_MINOR_MAX);
    assert_eq!(
        off(&terms(percent(99, None)), large, 0),
        Ok(990_000_000_000)
    );
}

#[test]
fn an_amount_takes_off_no_more_than_the_total() {
    let fixed = terms(Discount::Amount(money(50)));
    assert_eq!(off(&fixed, money(80), 0), Ok(50));
    assert_eq!(off(&fixed, money(50), 0), Ok(50));
    assert_eq!(off(&fixed, money(20), 0), Ok(20));
    assert_eq!(off(&fixed, money(0), 0), Err(NotApplicable::TakesNothing));
}

#[test]
fn a_coupon_is_for_its_time_sales_currency_and_total() {
    let bounded = NewCampaign {
        valid_from: Some(UnixMs(10)),
        valid_until: Some(UnixMs(20)),
        order_min: Some(money(100)),
        ..terms(percent(10, None))
    };
    for (now, expected) in [
        (9, Err(NotApplicable::NotYet)),
        (10, Ok(10)),
        (19, Ok(10)),
        (20, Err(NotApplicable::Over)),
    ] {
        assert_eq!(off(&bounded, money(100), now), expected, "{now}");
    }
    assert_eq!(
        off(&bounded, money(99), 10),
        Err(NotApplicable::TotalTooLow)
    );
    assert_eq!(
        off(&bounded, yen(100), 10),
        Err(NotApplicable::OtherCurrency)
    );
    let any_currency = terms(percent(10, None));
    assert_eq!(off(&any_currency, yen(100), 10), Ok(10));
    for (concerts, performances, expected) in [
        (vec![id("c1")], vec![], Ok(10)),
        (vec![], vec![id("p1")], Ok(10)),
        (vec![id("c2")], vec![id("p1")], Ok(10)),
        (vec![id("c2")], vec![], Err(NotApplicable::OtherSale)),
        (
            vec![],
            vec![id("p2"), id("c1")],
            Err(NotApplicable::OtherSale),
        ),
    ] {
        let only = NewCampaign {
            concerts,
            performances,
            ..terms(percent(10, None))
        };
        assert_eq!(off(&only, money(100), 0), expected, "{only:?}");
    }
}

#[test]
fn terms_that_cannot_be_name_their_field() {
    let ids = |count: usize| (0..count).map(|n| id(&format!("x{n}"))).collect();
    let good = terms(percent(10, Some(5)));
    assert_eq!(good.validate(), Ok(()));
    let cases = [
        (
            "campaign.name",
            NewCampaign {
                name: " ".to_owned(),
                ..good.clone()
            },
        ),
        (
            "campaign.name",
            NewCampaign {
                name: "ü".repeat(201),
                ..good.clone()
            },
        ),
        (
            "campaign.stock",
            NewCampaign {
                stock: 0,
                ..good.clone()
            },
        ),
        (
            "campaign.stock",
            NewCampaign {
                stock: STOCK_MAX + 1,
                ..good.clone()
            },
        ),
        ("campaign.percent", terms(percent(0, None))),
        ("campaign.percent", terms(percent(101, None))),
        ("campaign.percent", terms(percent(u32::MAX, None))),
        ("campaign.discount_max", terms(percent(10, Some(0)))),
        ("campaign.discount_max", terms(percent(10, Some(i64::MIN)))),
        ("campaign.amount_off", terms(Discount::Amount(money(0)))),
        (
            "campaign.amount_off",
            terms(Discount::Amount(money(i64::MAX))),
        ),
        (
            "campaign.order_min",
            NewCampaign {
                order_min: Some(money(-1)),
                ..good.clone()
            },
        ),
        (
            "campaign.order_min",
            NewCampaign {
                order_min: Some(yen(1)),
                ..good.clone()
            },
        ),
        (
            "campaign.concert_ids",
            NewCampaign {
                concerts: ids(101),
                ..good.clone()
            },
        ),
        (
            "campaign.performance_ids",
            NewCampaign {
                performances: ids(101),
                ..good.clone()
            },
        ),
        (
            "campaign.valid_until",
            NewCampaign {
                valid_from: Some(UnixMs(5)),
                valid_until: Some(UnixMs(5)),
                ..good
            },
        ),
    ];
    for (field, bad) in cases {
        assert_eq!(bad.validate().unwrap_err().field, field);
    }
}

#[test]
fn only_what_is_said_changes_and_the_stock_covers_what_is_issued() {
    let before = campaign(terms(percent(10, None)), 7);
    let nothing = CampaignChange::default();
    assert_eq!(nothing.applied(&before), Ok(before.terms.clone()));
    let change = CampaignChange {
        name: Some("Summer".to_owned()),
        stock: Some(7),
        valid_from: Some(Some(UnixMs(1))),
        valid_until: Some(Some(UnixMs(2))),
    };
    assert_eq!(change.validate(), Ok(()));
    let after = change.applied(&before).unwrap();
    assert_eq!((after.name.as_str(), after.stock), ("Summer", 7));
    let cleared = CampaignChange {
        valid_until: Some(None),
        ..CampaignChange::default()
    };
    assert_eq!(
        cleared.applied(&campaign(after, 7)).unwrap().valid_until,
        None
    );
    let fewer = CampaignChange {
        stock: Some(6),
        ..CampaignChange::default()
    };
    assert_eq!(fewer.applied(&before).unwrap_err().field, "campaign.stock");
    let blank = CampaignChange {
        name: Some(String::new()),
        ..CampaignChange::default()
    };
    assert_eq!(blank.validate().unwrap_err().field, "campaign.name");
}

#[test]
fn only_a_coupon_that_was_not_used_expires() {
    let coupon = |state, valid_until| Coupon {
        id: id("k"),
        campaign: id("spring"),
        user: UserId::parse("ann").unwrap(),
        state,
        issued_at: UnixMs(1),
        valid_until,
        reservation: None,
    };
    let until = Some(UnixMs(10));
    assert!(!coupon(CouponState::Available, until).is_expired(UnixMs(9)));
    assert!(coupon(CouponState::Available, until).is_expired(UnixMs(10)));
    assert!(!coupon(CouponState::Available, None).is_expired(UnixMs(u64::MAX)));
    assert!(!coupon(CouponState::Used, until).is_expired(UnixMs(10)));
    for state in CouponState::ALL {
        assert_eq!(CouponState::from_name(state.as_str()), Some(state));
    }
}

proptest! {
    #[test]
    fn what_is_left_to_pay_is_never_below_zero_nor_above_the_total(
        total in 0..=AMOUNT_MINOR_MAX,
        share in 1_u32..=100,
        amount in 1..=AMOUNT_MINOR_MAX,
        is_percent: bool,
        is_capped: bool,
    ) {
        let discount = match is_percent {
            true => percent(share, is_capped.then_some(amount)),
            false => Discount::Amount(money(amount)),
        };
        let terms = terms(discount);
        prop_assert_eq!(terms.validate(), Ok(()));
        match off(&terms, money(total), 0) {
            Ok(off) => {
                prop_assert!((1..=total).contains(&off));
                if is_percent {
                    let exact = i128::from(total) * i128::from(share);
                    prop_assert!(i128::from(off) * 100 <= exact, "the fraction is paid");
                }
                if is_capped || !is_percent {
                    prop_assert!(off <= amount);
                }
            }
            Err(why) => {
                prop_assert_eq!(why, NotApplicable::TakesNothing);
                prop_assert!(total * i64::from(share) < 100 || total == 0);
            }
        }
    }

    #[test]
    fn a_larger_total_never_gets_less_off(
        total in 0..AMOUNT_MINOR_MAX,
        more in 0..1_000_i64,
        share in 1_u32..=100,
    ) {
        let discount = percent(share, None);
        let of = |total| discount.of(money(total)).amount_minor;
        prop_assert!(of(total) <= of((total + more).min(AMOUNT_MINOR_MAX)));
    }
}
