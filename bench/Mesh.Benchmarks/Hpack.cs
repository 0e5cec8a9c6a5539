using BenchmarkDotNet.Attributes;
using Mesh.Hbone.Http2;
using Mesh.Hbone.Http2.Hpack;

namespace Mesh.Benchmarks;

/// <summary>What do the headers of a CONNECT cost, as ztunnel sends them, when the tables know them?</summary>
public class Hpack
{
    private static readonly HeaderField[] Request =
    [
        new(":method", "CONNECT"), new(":authority", "10.0.0.7:8080"),
        new("forwarded", "for=10.0.0.2;by=10.0.0.7;host=cart.shop.svc.cluster.local;proto=tcp"),
        new("baggage", "k8s.cluster.name=Kubernetes,k8s.namespace.name=shop,k8s.deployment.name=web,service.name=web,service.version=v1"),
        new("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ];

    private readonly HpackEncoder _encoder = new();
    private readonly OutputBuffer _output = new();
    private readonly HpackDecoder _decoder = new(HpackEncoder.MaxTableSize, 64 * 1024);
    private readonly List<HeaderField> _fields = [];
    private byte[] _block = [];

    [GlobalSetup]
    public void Setup()
    {
        // The second block refers to what the first has put into the table.
        for (var i = 0; i < 2; i++)
        {
            _output.Clear();
            _encoder.Encode(Request, _output);
            _block = _output.Written.ToArray();
            _fields.Clear();
            _decoder.Decode(_block, _fields);
        }
    }

    [Benchmark]
    public int Encode()
    {
        _output.Clear();
        _encoder.Encode(Request, _output);
        return _output.Length;
    }

    [Benchmark]
    public int Decode()
    {
        _fields.Clear();
        _decoder.Decode(_block, _fields);
        return _fields.Count;
    }
}
