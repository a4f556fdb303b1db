//! New files under a node that runs.

use super::*;

#[tokio::test]
async fn while_two_cas_are_believed_nodes_of_both_talk() {
    // The same name for both, as two runs of `plimsoll tls ca` give it.
    let (time, old, new) = (Time::new(), ca("ca"), ca("ca"));
    let a = Peer::with(&[&old, &new], &node_of(&old, "a", 100, time.now()), &time);
    let b = Peer::with(&[&old, &new], &node_of(&new, "b", 100, time.now()), &time);
    assert!(dial(&a, &b, "b").await.is_connection());
    assert!(dial(&b, &a, "a").await.is_connection());
    assert_eq!(a.tls.current().authorities().len(), 2);
}

/// The steps of an operator, each node at its own time: both CAs, then certificates of the new one, then only that.
#[tokio::test]
async fn a_ca_is_replaced_without_a_restart_or_a_moment_without_connections() {
    let (time, old, new) = (Time::new(), ca("old"), ca("new"));
    let of_old = [node_of(&old, "a", 100, time.now()), node_of(&old, "b", 100, time.now())];
    let of_new = [node_of(&new, "a", 100, time.now()), node_of(&new, "b", 100, time.now())];
    let peers = [Peer::with(&[&old], &of_old[0], &time), Peer::with(&[&old], &of_old[1], &time)];
    let steps = [(&of_old, vec![&old, &new]), (&of_new, vec![&old, &new]), (&of_new, vec![&new])];
    for (nodes, authorities) in steps {
        for (peer, node) in peers.iter().zip(nodes) {
            write(peer.directory.path(), &authorities, node);
            assert_eq!(peer.tls.reload().unwrap(), Reloaded::Changed);
            assert!(dial(&peers[0], &peers[1], "b").await.is_connection());
            assert!(dial(&peers[1], &peers[0], "a").await.is_connection());
        }
    }
    let left_behind = Peer::with(&[&old, &new], &node_of(&old, "c", 100, time.now()), &time);
    assert!(!dial(&left_behind, &peers[0], "a").await.is_connection(), "the old CA is believed no more");
}

#[tokio::test]
async fn a_connection_outlives_the_certificates_it_began_with() {
    let (time, old, new) = (Time::new(), ca("old"), ca("new"));
    let a = Peer::new(&[&old], "a", &time);
    let b = Peer::new(&[&old], "b", &time);
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (server, client) = tokio::join!(b.tls.accept(theirs), a.tls.connect("b", ours));
    let (mut server, mut client) = (server.unwrap(), client.unwrap());
    write(b.directory.path(), &[&new], &node_of(&new, "b", 1, time.now()));
    assert_eq!(b.tls.reload().unwrap(), Reloaded::Changed);
    let (sent, received) = tokio::join!(greet(&mut server), greet(&mut client));
    assert!(sent.is_ok() && received.is_ok());
    assert!(!dial(&a, &b, "b").await.is_connection(), "the next one begins with the new ones");
}

#[test]
fn clones_share_what_was_reloaded() {
    let (time, ca) = (Time::new(), ca("ca"));
    let peer = Peer::new(&[&ca], "a", &time);
    let clone = peer.tls.clone();
    write(peer.directory.path(), &[&ca], &node_of(&ca, "renamed", 100, time.now()));
    assert_eq!(clone.current().node().names, ["a"], "nothing happens by itself");
    assert_eq!(peer.tls.reload().unwrap(), Reloaded::Changed);
    assert_eq!(clone.current().node().names, ["renamed"]);
}

#[test]
fn files_that_are_the_same_are_not_taken_up_again() {
    let (time, ca) = (Time::new(), ca("ca"));
    let peer = Peer::new(&[&ca], "a", &time);
    let before = peer.tls.current();
    assert_eq!(peer.tls.reload().unwrap(), Reloaded::Unchanged);
    assert!(Arc::ptr_eq(&before, &peer.tls.current()));
}

/// A look between the writing of one file and of the next.
#[tokio::test]
async fn broken_files_are_reported_and_change_nothing() {
    let (time, ca) = (Time::new(), ca("ca"));
    let a = Peer::new(&[&ca], "a", &time);
    let b = Peer::new(&[&ca], "b", &time);
    let renewed = node_of(&ca, "b", 200, time.now());
    let directory = b.directory.path();
    let before = b.tls.current();
    fs::write(directory.join(NODE_FILE), &renewed.certificate_pem).unwrap();
    for _ in 0..2 {
        assert!(matches!(b.tls.reload(), Err(TlsError::KeyMismatch { .. })));
        assert!(Arc::ptr_eq(&before, &b.tls.current()));
    }
    assert!(dial(&a, &b, "b").await.is_connection());
    fs::remove_file(directory.join(NODE_KEY_FILE)).unwrap();
    assert!(matches!(b.tls.reload(), Err(TlsError::Read { .. })));
    fs::write(directory.join(NODE_KEY_FILE), &renewed.key_pem).unwrap();
    assert_eq!(b.tls.reload().unwrap(), Reloaded::Changed);
    assert_eq!(b.tls.current().node().not_after, renewed.not_after);
    assert!(dial(&a, &b, "b").await.is_connection());
}
