using BenchmarkDotNet.Attributes;
using Mesh.Hbone.Http2;

namespace Mesh.Benchmarks;

/// <summary>What does a frame header cost?</summary>
public class Framing
{
    private readonly byte[] _octets = new byte[FrameHeader.Size];

    [Benchmark]
    public void Write() => new FrameHeader(65_527, FrameType.Data, FrameFlags.None, 12_345).Write(_octets);

    [Benchmark]
    public int Read() => FrameHeader.Read(_octets).Length;
}
