//! What each driver does in the same way.

/// Implements the binding and running methods of [`Dialect`], which read the same for each driver.
macro_rules! driver_methods {
    () => {
        fn bind_int(builder: &mut QueryBuilder<Self>, value: Option<i64>) {
            builder.push_bind(value);
        }
        fn bind_float(builder: &mut QueryBuilder<Self>, value: Option<f64>) {
            builder.push_bind(value);
        }
        fn bind_text(builder: &mut QueryBuilder<Self>, value: Option<&str>) {
            builder.push_bind(value.map(str::to_owned));
        }
        fn bind_blob(builder: &mut QueryBuilder<Self>, value: &[u8]) {
            builder.push_bind(value.to_vec());
        }
        fn rows<'c>(
            connection: &'c mut Self::Connection,
            builder: &'c mut QueryBuilder<Self>,
            keep: bool,
        ) -> BoxFuture<'c, Driver<Vec<Self::Row>>> {
            Box::pin(async move { builder.build().persistent(keep).fetch_all(connection).await })
        }
        fn stream<'c>(
            connection: &'c mut Self::Connection,
            builder: &'c mut QueryBuilder<Self>,
            keep: bool,
        ) -> futures_util::stream::BoxStream<'c, Driver<Self::Row>> {
            builder.build().persistent(keep).fetch(connection)
        }
        fn run<'c>(
            connection: &'c mut Self::Connection,
            builder: &'c mut QueryBuilder<Self>,
            keep: bool,
        ) -> BoxFuture<'c, Driver<u64>> {
            Box::pin(async move {
                let done = builder.build().persistent(keep).execute(connection).await?;
                Ok(done.rows_affected())
            })
        }
    };
}
pub(super) use driver_methods;
