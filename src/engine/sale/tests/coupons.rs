//! Two nodes on one database between which the bus loses all that is said.

use super::*;
use crate::domain::sale::coupon::{Campaign, CampaignChange, Discount, NewCampaign};
use crate::store::sales::{Coupons as _, UpdateCampaign};

/// Another node's engine, with a bus that nobody else hears.
fn another_node(of: &TestSale) -> SaleEngine {
    let (sender, _) = mpsc::channel(16);
    let listener = Arc::new(Listener(sender));
    let currency = euros(0).currency;
    SaleEngine::new(SaleParts {
        store: of.store.clone(),
        slots: listener.clone(),
        rooms: listener,
        bus: Arc::new(LocalBus::new(64)),
        entropy: Arc::new(SeededEntropy::new(2)),
        failpoints: Arc::new(Failpoints::default()),
        tasks: of.tasks.clone(),
        metrics: Metrics::new(),
        gateway: None,
        settings: SaleSettings {
            default_currency: currency,
            currencies: vec![currency],
            top_up_minor_max: 10_000,
            balance_minor_max: 20_000,
        },
    })
}

fn of_stock(stock: u64) -> NewCampaign {
    NewCampaign {
        name: "Spring".to_owned(),
        stock,
        discount: Discount::Percent {
            percent: 10,
            at_most: None,
        },
        order_min: None,
        valid_from: None,
        valid_until: None,
        concerts: Vec::new(),
        performances: Vec::new(),
    }
}

async fn press(node: &SaleEngine, who: &str, campaign: &Campaign) -> Result<bool, SalesError> {
    let user = UserId::parse(who).unwrap();
    let issued = node.issue_coupon(user, campaign.id.clone(), None).await;
    issued.map(|(_, already)| already)
}

/// Asks until it is so; whoever asks has no coupon and gets none meanwhile.
async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let looks = async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    };
    let bounded = tokio::time::timeout(PATIENCE, looks).await;
    assert!(bounded.is_ok(), "{what}");
}

async fn raise(node: &SaleEngine, campaign: &Campaign, stock: u64) -> Campaign {
    let now = node.store().campaign(campaign.id.clone()).await.unwrap();
    let command = UpdateCampaign {
        campaign: now.id,
        version: now.version,
        change: CampaignChange {
            stock: Some(stock),
            ..CampaignChange::default()
        },
    };
    node.update_campaign(command).await.unwrap()
}

#[tokio::test]
async fn a_raised_stock_is_found_though_the_bus_loses_it() {
    let mut here = TestSale::open().await;
    let there = another_node(&here);
    let once = here.once("root");
    let spring = here.sale.create_campaign(once, of_stock(2)).await.unwrap();
    for (node, who) in [(&here.sale, "ann"), (&there, "bob")] {
        assert_eq!(press(node, who, &spring).await, Ok(false));
    }
    // Both nodes have learned that all is issued, and ask nobody any more.
    for node in [&here.sale, &there] {
        eventually("sold out is known", async || {
            assert_eq!(
                press(node, "carol", &spring).await,
                Err(SalesError::CouponSoldOut)
            );
            let carol = UserId::parse("carol").unwrap();
            node.0.exhausted.ask(&spring.id, &carol) != super::super::exhausted::Told::Nothing
        })
        .await;
    }
    raise(&here.sale, &spring, 3).await;
    // The node that was told of it has a coupon at once, the other before long.
    eventually("the other node looks again", async || {
        match press(&there, "carol", &spring).await {
            Ok(already) => !already,
            Err(error) => {
                assert_eq!(error, SalesError::CouponSoldOut);
                false
            }
        }
    })
    .await;
    // Exactly one more: neither node has another.
    for node in [&here.sale, &there] {
        assert_eq!(
            press(node, "dan", &spring).await,
            Err(SalesError::CouponSoldOut)
        );
        assert_eq!(press(node, "carol", &spring).await, Ok(true));
    }
    raise(&there, &spring, 4).await;
    assert_eq!(press(&there, "dan", &spring).await, Ok(false), "at once");
    let now = here.store.campaign(spring.id.clone()).await.unwrap();
    assert_eq!((now.terms.stock, now.issued), (4, 4));
}
