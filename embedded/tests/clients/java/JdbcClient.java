import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Timestamp;
import java.util.Properties;

/** Writes and reads through TDengine's JDBC driver, over WebSocket and over REST: JdbcClient HOST:PORT. */
public class JdbcClient {
    static final long BASE = 1764547200000L;

    interface Action {
        void run() throws SQLException;
    }

    static void expect(String what, Object got, Object wanted) {
        if (!String.valueOf(got).equals(String.valueOf(wanted))) {
            throw new AssertionError(what + ": got " + got + ", expected " + wanted);
        }
    }

    static void refused(String what, int code, Action action) {
        try {
            action.run();
        } catch (SQLException error) {
            expect(what, Integer.toHexString(error.getErrorCode() & 0xffff), Integer.toHexString(code));
            return;
        }
        throw new AssertionError(what + ": was not refused");
    }

    static Object single(Statement statement, String sql) throws SQLException {
        try (ResultSet result = statement.executeQuery(sql)) {
            if (!result.next()) {
                throw new AssertionError("no row: " + sql);
            }
            return result.getObject(1);
        }
    }

    static void webSocket(String endpoint) throws SQLException {
        String url = "jdbc:TAOS-WS://" + endpoint + "/?user=root&password=taosdata";
        try (Connection connection = DriverManager.getConnection(url); Statement statement = connection.createStatement()) {
            statement.execute("drop database if exists java_ws");
            statement.execute("create database java_ws");
            statement.execute("use java_ws");
            statement.execute("create stable st (ts timestamp, i int, d double, s varchar(20), n nchar(20)) tags (g int, t varchar(8))");
            String insert = "insert into a using st tags(1, 'x') values(" + BASE + ", 1, 1.5, 'abc', '中文')";
            expect("affected rows", statement.executeUpdate(insert), 1);

            String sql = "insert into java_ws.st (tbname, g, t, ts, i, d, s, n) values(?, ?, ?, ?, ?, ?, ?, ?)";
            try (PreparedStatement prepared = connection.prepareStatement(sql)) {
                for (int table = 0; table < 3; table++) {
                    for (int row = 0; row < 100; row++) {
                        prepared.setString(1, "d" + table);
                        prepared.setInt(2, table);
                        prepared.setString(3, "t" + table);
                        prepared.setTimestamp(4, new Timestamp(BASE + row));
                        prepared.setInt(5, row);
                        prepared.setDouble(6, row / 2.0);
                        prepared.setString(7, "s" + row);
                        prepared.setNString(8, "中" + row);
                        prepared.addBatch();
                    }
                }
                prepared.executeBatch();
            }
            expect("count", single(statement, "select count(*) from st"), 301);
            expect("sum", single(statement, "select sum(i) from st where g = 2"), 4950);
            try (ResultSet result = statement.executeQuery("select ts, i, d, s, n, g, t, tbname from st where tbname = 'd1' order by ts limit 1 offset 7")) {
                result.next();
                expect("timestamp", result.getTimestamp(1).getTime(), BASE + 7);
                expect("int", result.getInt(2), 7);
                expect("double", result.getDouble(3), 3.5);
                expect("varchar", result.getString(4), "s7");
                expect("nchar", result.getString(5), "中7");
                expect("tag", result.getInt(6), 1);
                expect("tag", result.getString(7), "t1");
                expect("tbname", result.getString(8), "d1");
            }
            refused("a table that is not there", 0x2603, () -> statement.executeQuery("select * from nope"));
            refused("bad SQL", 0x2600, () -> statement.execute("selec"));
            statement.execute("drop database java_ws");
        }
        try {
            DriverManager.getConnection(url.replace("taosdata", "wrong")).close();
            throw new AssertionError("a wrong password was not refused");
        } catch (SQLException error) {
            // The driver has the code in its text only.
            expect("a wrong password: " + error.getMessage(), error.getMessage().contains("0x357"), true);
        }
    }

    static void rest(String endpoint) throws SQLException {
        Properties properties = new Properties();
        properties.setProperty("user", "root");
        properties.setProperty("password", "taosdata");
        try (Connection connection = DriverManager.getConnection("jdbc:TAOS-RS://" + endpoint + "/", properties); Statement statement = connection.createStatement()) {
            statement.execute("create database if not exists java_rest");
            statement.execute("create table java_rest.t (ts timestamp, v int, s varchar(20))");
            expect("affected rows", statement.executeUpdate("insert into java_rest.t values(" + BASE + ", 1, 'a')"), 1);
            expect("value", single(statement, "select s from java_rest.t"), "a");
            refused("bad SQL", 0x2600, () -> statement.executeQuery("selec"));
            statement.execute("drop database java_rest");
        }
    }

    public static void main(String[] arguments) throws Exception {
        Class.forName("com.taosdata.jdbc.ws.WebSocketDriver");
        Class.forName("com.taosdata.jdbc.rs.RestfulDriver");
        webSocket(arguments[0]);
        rest(arguments[0]);
        System.out.println("java client: ok");
        System.exit(0);
    }
}
