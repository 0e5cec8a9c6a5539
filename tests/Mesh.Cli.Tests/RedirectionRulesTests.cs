using System.Net;
using System.Net.Sockets;

namespace Mesh.Cli.Redirect;

/// <summary>The rules are those that Istio's CNI installs in a pod (ztunnel §12.5), in their order.</summary>
public sealed class RedirectionRulesTests
{
    [Fact]
    public void A_pod_gets_the_rules_of_istio() => Assert.Equal(
        """
        *mangle
        :ISTIO_PRERT - [0:0]
        :ISTIO_OUTPUT - [0:0]
        -A PREROUTING -j ISTIO_PRERT
        -A OUTPUT -j ISTIO_OUTPUT
        -A ISTIO_PRERT -m mark --mark 0x539/0xfff -j CONNMARK --set-xmark 0x111/0xfff
        -A ISTIO_OUTPUT -m connmark --mark 0x111/0xfff -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff
        COMMIT
        *nat
        :ISTIO_PRERT - [0:0]
        :ISTIO_OUTPUT - [0:0]
        -A PREROUTING -j ISTIO_PRERT
        -A OUTPUT -j ISTIO_OUTPUT
        -A ISTIO_PRERT -s 169.254.7.127/32 -p tcp -j ACCEPT
        -A ISTIO_PRERT ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m mark ! --mark 0x539/0xfff -j REDIRECT --to-ports 15006
        -A ISTIO_OUTPUT -d 169.254.7.127/32 -p tcp -j ACCEPT
        -A ISTIO_OUTPUT -p tcp -m mark --mark 0x111/0xfff -j ACCEPT
        -A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -j ACCEPT
        -A ISTIO_OUTPUT ! -d 127.0.0.1/32 -p tcp -m mark ! --mark 0x539/0xfff -j REDIRECT --to-ports 15001
        COMMIT

        """,
        RedirectionRules.Tables(AddressFamily.InterNetwork, new RedirectionOptions()));

    [Fact]
    public void IPv6_has_its_own_loopback_and_probe_addresses()
    {
        var rules = RedirectionRules.Tables(AddressFamily.InterNetworkV6, new RedirectionOptions());
        Assert.Contains("-A ISTIO_PRERT -s fd16:9254:7127:1337:ffff:ffff:ffff:ffff/128 -p tcp -j ACCEPT", rules, StringComparison.Ordinal);
        Assert.Contains("! -d ::1/128 -p tcp", rules, StringComparison.Ordinal);
        Assert.DoesNotContain("127.0.0.1", rules, StringComparison.Ordinal);
    }

    [Fact]
    public void DNS_is_sent_to_the_ztunnel_when_it_is_to_be_and_its_own_questions_are_kept_apart()
    {
        var rules = RedirectionRules.Tables(AddressFamily.InterNetwork, new RedirectionOptions { CapturesDns = true });
        Assert.Contains("-A ISTIO_OUTPUT ! -o lo -p udp -m udp --dport 53 -m mark ! --mark 0x539/0xfff -j REDIRECT --to-ports 15053", rules, StringComparison.Ordinal);
        Assert.Contains("-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -p tcp -m tcp --dport 53 -m mark ! --mark 0x539/0xfff -j REDIRECT --to-ports 15053", rules, StringComparison.Ordinal);
        Assert.EndsWith(
            """
            -A ISTIO_OUTPUT -p udp -m udp --dport 53 -m mark --mark 0x539/0xfff -j CT --zone 1
            -A ISTIO_PRERT -p udp -m udp --sport 53 -m mark ! --mark 0x539/0xfff -j CT --zone 1
            COMMIT

            """,
            rules,
            StringComparison.Ordinal);
    }

    [Fact]
    public void A_pod_that_bypasses_inbound_capture_keeps_its_inbound_connections()
    {
        var rules = RedirectionRules.Tables(AddressFamily.InterNetwork, new RedirectionOptions { BypassesInbound = true });
        Assert.DoesNotContain("15006", rules, StringComparison.Ordinal);
        Assert.Contains("15001", rules, StringComparison.Ordinal);
    }

    [Fact]
    public void Connections_of_virtual_machines_count_as_the_pods_own()
    {
        var rules = RedirectionRules.Tables(AddressFamily.InterNetwork, new RedirectionOptions { VirtualInterfaces = ["tap0"] });
        Assert.Contains("-A ISTIO_PRERT -i tap0 -p tcp -j REDIRECT --to-ports 15001\n-A ISTIO_PRERT -i tap0 -p tcp -j RETURN\n", rules, StringComparison.Ordinal);
    }

    [Fact]
    public void Replies_to_clients_addresses_are_led_back()
    {
        Assert.Equal(
            ["-4 rule add fwmark 0x111/0xfff pref 32764 lookup 100", "-4 route add local 0.0.0.0/0 dev lo table 100"],
            RedirectionRules.Routes(AddressFamily.InterNetwork, isAdded: true).Select(route => string.Join(' ', route)));
        Assert.Equal(
            ["-6 rule del fwmark 0x111/0xfff pref 32764 lookup 100", "-6 route del local ::/0 dev lo table 100"],
            RedirectionRules.Routes(AddressFamily.InterNetworkV6, isAdded: false).Select(route => string.Join(' ', route)));
    }

    [Fact]
    public void Probes_of_the_node_come_from_the_address_that_pods_let_through() => Assert.Equal(
        "-d 10.0.0.2 -p tcp -m owner --socket-exists -j SNAT --to-source 169.254.7.127",
        string.Join(' ', RedirectionRules.ProbeRule(IPAddress.Parse("10.0.0.2"))));
}
