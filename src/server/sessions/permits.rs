//! Each permit there is, whoever has it.

use super::banners::AfterBanner;

use crate::admission::{Admission, Permit};
use crate::server::Server;

impl Drop for Server {
    /// Programs may go on, and nobody counts them any more.
    fn drop(&mut self) {
        self.each_permit(|_, permit| permit.close());
    }
}

impl Server {
    /// Changes the permit of each who has one.
    pub(in crate::server) fn each_permit(&mut self, change: impl Fn(&mut Admission, &mut Permit)) {
        let (admission, sessions) = (&mut self.admission, &mut self.sessions);
        sessions.table.each(|it| {
            it.client.permit.as_mut().into_iter().for_each(|permit| change(admission, permit));
        });
        sessions.pending_peers.each(|it| change(admission, &mut it.permit));
        sessions.banners.each(|it| {
            if let AfterBanner::Serve(admitted) = &mut it.then {
                change(admission, &mut admitted.permit);
            }
        });
    }
}
