using Mesh.Hbone.Http2.Hpack;

namespace Mesh.Hbone.Http2;

public sealed class ConnectRequestTests
{
    [Theory]
    [InlineData(":method=CONNECT|:authority=10.0.0.1:80")]
    [InlineData(":authority=10.0.0.1:80|:method=CONNECT|baggage=a=b|te=trailers")]
    [InlineData(":method=GET|:scheme=https|:path=/")]
    [InlineData(":method=GET|:scheme=https|:path=/|:authority=a")]
    public void Is_well_formed(string fields) => Assert.Null(Fault(fields));

    [Theory]
    [InlineData("")]
    [InlineData("a=b")]
    [InlineData(":method=CONNECT")]
    [InlineData(":method=CONNECT|:authority=")]
    [InlineData(":authority=a:1")]
    [InlineData(":method=CONNECT|:authority=a:1|:scheme=https")]
    [InlineData(":method=CONNECT|:authority=a:1|:path=/")]
    [InlineData(":method=CONNECT|:authority=a:1|:scheme=https|:path=/|:protocol=websocket")]
    [InlineData(":method=CONNECT|:authority=a:1|:status=200")]
    [InlineData(":method=CONNECT|:authority=a:1|:unknown=x")]
    [InlineData(":method=CONNECT|:method=CONNECT|:authority=a:1")]
    [InlineData(":method=CONNECT|:authority=a:1|:authority=b:1")]
    [InlineData(":method=CONNECT|a=b|:authority=a:1")]
    [InlineData(":method=GET")]
    [InlineData(":method=GET|:scheme=https")]
    [InlineData(":method=CONNECT|:authority=a:1|connection=close")]
    [InlineData(":method=CONNECT|:authority=a:1|proxy-connection=close")]
    [InlineData(":method=CONNECT|:authority=a:1|keep-alive=1")]
    [InlineData(":method=CONNECT|:authority=a:1|transfer-encoding=chunked")]
    [InlineData(":method=CONNECT|:authority=a:1|upgrade=h2c")]
    [InlineData(":method=CONNECT|:authority=a:1|te=gzip")]
    [InlineData(":method=CONNECT|:authority=a:1|Upper=x")]
    [InlineData(":method=CONNECT|:authority=a:1|with space=x")]
    [InlineData(":method=CONNECT|:authority=a:1|=x")]
    [InlineData(":method=CONNECT|:authority=a:1|x=a\nb")]
    [InlineData(":method=CONNECT|:authority=a:1|x=a\0")]
    public void Is_malformed(string fields) => Assert.Equal(Http2ErrorCode.ProtocolError, Fault(fields));

    private static Http2ErrorCode? Fault(string fields) => ConnectRequest.Fault(
        [.. fields.Split('|', StringSplitOptions.RemoveEmptyEntries).Select(field => new HeaderField(field[..field.IndexOf('=')], field[(field.IndexOf('=') + 1)..]))]);
}
